"""Adversarial images, at any distance, from which an attack can walk toward the clean image.

The boundary attack and the pointwise attack start here (Brendel, Rauber and Bethge 2018, §2.1;
Schott et al. 2019, §4). A start is either the caller's own or noise, and may be moved closer by
bisection.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext
from armsrace.norms import batch_view
from armsrace.randomness import Keys


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


def halved(context: AttackContext, start: Tensor, times: int) -> Tensor:
    """The start (N, C, H, W), moved to the boundary by `times` bisections of the line to the image.

    The start must be adversarial; the result is. Each bisection costs a query.
    """
    clean, x_adv = context.images, start
    for _ in range(times):
        middle = context.bounds.clip((clean + x_adv) / 2)
        is_adversarial = batch_view(context.is_adversarial(context.logits(middle)))
        x_adv = torch.where(is_adversarial, middle, x_adv)
        clean = torch.where(is_adversarial, clean, middle)
    return x_adv
