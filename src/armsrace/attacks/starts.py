"""Adversarial images, however far away, from which a walk on decisions alone can begin."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem
from armsrace.attacks.randomness import Keys
from armsrace.contracts import Bounds, check_images


def noise(
    problem: Problem, keys: Keys, tries: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise that fools the model: images (N, C, H, W), found (N,) bool, queries (N,).

    Salt and pepper, each try with its own share of white: evenly gray noise is nearly always read
    as one class, and digits of that class would have no start.
    """
    images, asked = problem.images.clone(), torch.zeros_like(problem.labels)
    left = torch.arange(len(images), device=images.device)
    low, high = problem.bounds.lower, problem.bounds.upper
    # Of its own, or what is drawn afterwards would depend on how long the batch had to search.
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    generator = torch.Generator().manual_seed(int(seed))
    for _ in range(tries):
        if len(left) == 0:
            break
        white = column(keys[left].uniform((1,), generator)[:, 0])
        draws = keys[left].uniform(images.shape[1:], generator)
        candidates = torch.where(draws < white, high, low).to(images.dtype)
        part = problem.subset(left)
        fooled = part.fooled(part.logits(candidates))
        asked[left] += 1
        images[left[fooled]] = candidates[fooled]
        left = left[~fooled]
    found = torch.ones_like(problem.labels, dtype=torch.bool)
    found[left] = False
    return images, found, asked


def given(problem: Problem, start: Tensor) -> Tensor:
    """The caller's start (N, C, H, W), refused where it does not fool the model; one query."""
    fooled = problem.fooled(problem.logits(start))
    if not fooled.all():
        raise ValueError(
            f"start must be adversarial, got {int((~fooled).sum())} of {len(start)} that are not"
        )
    return start


def check_start(start: Tensor, images: Tensor, bounds: Bounds) -> None:
    """Raise unless start is a batch of valid images of the shape of `images`."""
    if not isinstance(start, Tensor) or start.shape != images.shape:
        got = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise ValueError(f"start must have shape {tuple(images.shape)}, got {got}")
    check_images(start, bounds, "start")


def halved(problem: Problem, start: Tensor, times: int) -> Tensor:
    """The line from each image to its start, halved towards the boundary `times` times.

    start is (N, C, H, W) and adversarial; so is what comes back. Each halving costs a query.
    """
    outside, inside = problem.images, start
    for _ in range(times):
        middle = problem.bounds.clip((outside + inside) / 2)
        fooled = column(problem.fooled(problem.logits(middle)))
        inside = torch.where(fooled, middle, inside)
        outside = torch.where(fooled, outside, middle)
    return inside
