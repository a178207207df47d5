"""Adversarial images, at any distance, from which an attack can walk toward the clean image.

The boundary attack and the pointwise attack start here (Brendel, Rauber and Bethge 2018, §2.1;
Schott et al. 2019, §4). A start is either the caller's own or noise, and may be moved closer by
bisection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext
from armsrace.contracts import Norm
from armsrace.norms import batch_view, distances, project
from armsrace.randomness import Keys


def starts(
    context: AttackContext, start: Tensor | None, keys: Keys, tries: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The caller's start, or noise without one: images (N, C, H, W), found (N,) bool, queries (N,).

    start: (N, C, H, W) or None, the rows of the images of the context.
    """
    if start is None:
        return noise(context, keys, tries, generator)
    found = torch.ones_like(context.labels, dtype=torch.bool)
    return given(context, start.to(context.images)), found, torch.ones_like(context.labels)


def given(context: AttackContext, start: Tensor) -> Tensor:
    """The caller's start (N, C, H, W), refused unless all of it is adversarial; one query."""
    is_adversarial = context.is_adversarial(context.logits(start))
    if not is_adversarial.all():
        count = int((~is_adversarial).sum())
        raise ValueError(f"start must be adversarial, got {count} of {len(start)} that are not")
    return start


def noise(
    context: AttackContext, keys: Keys, tries: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Adversarial noise: images (N, C, H, W), found (N,) bool, queries (N,).

    Salt-and-pepper images, each try with its own fraction of white. Gray noise is nearly always
    classified as one class, and digits of that class would have no start.
    """
    images, queries = context.images.clone(), torch.zeros_like(context.labels)
    active = torch.arange(len(images), device=images.device)
    low, high = context.bounds.lower, context.bounds.upper
    # With a generator of its own: later draws must not depend on how long the batch searched.
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    generator = torch.Generator().manual_seed(int(seed))
    for _ in range(tries):
        if len(active) == 0:
            break
        white = batch_view(keys[active].uniform((1,), generator)[:, 0])
        draws = keys[active].uniform(images.shape[1:], generator)
        candidates = torch.where(draws < white, high, low).to(images.dtype)
        part = context.select(active)
        is_adversarial = part.is_adversarial(part.logits(candidates))
        queries[active] += 1
        images[active[is_adversarial]] = candidates[is_adversarial]
        active = active[~is_adversarial]
    found = torch.ones_like(context.labels, dtype=torch.bool)
    found[active] = False
    return images, found, queries


def nearest_in_balls(context: AttackContext, start: Tensor, norm: Norm, steps: int) -> Tensor:
    """The start, projected onto the smallest ball that leaves it adversarial; one query a step.

    The start (N, C, H, W) must be adversarial; the result is.
    """
    x, x_adv = context.images, start.clone()
    delta = start - x
    radius = batch_view(distances(delta, norm))
    low, high = torch.zeros_like(radius), torch.ones_like(radius)
    for _ in range(steps):
        middle = (low + high) / 2
        candidates = context.bounds.clip(x + project(delta, norm, middle * radius))
        is_adversarial = batch_view(context.is_adversarial(context.logits(candidates)))
        x_adv = torch.where(is_adversarial, candidates, x_adv)
        low = torch.where(is_adversarial, low, middle)
        high = torch.where(is_adversarial, middle, high)
    return x_adv


def halved(
    context: AttackContext, start: Tensor, times: int, left: Tensor
) -> tuple[Tensor, Tensor]:
    """The start, moved to the boundary by bisections of the line to the image, and queries (N,).

    The start must be adversarial; the result (N, C, H, W) is. Each of `times` bisections costs a
    query, of which left (N,) are allowed.
    """
    clean, x_adv, queries = context.images.clone(), start.clone(), left.clamp(0, times).long()
    for number in range(times):
        active = (queries > number).nonzero()[:, 0]
        if len(active) == 0:
            break
        part = context.select(active)
        middle = context.bounds.clip((clean[active] + x_adv[active]) / 2)
        is_adversarial = part.is_adversarial(part.logits(middle))
        x_adv[active[is_adversarial]] = middle[is_adversarial]
        clean[active[~is_adversarial]] = middle[~is_adversarial]
    return x_adv, queries
