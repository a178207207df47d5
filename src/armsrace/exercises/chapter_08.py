"""Checks of chapter 8: a gradient from scores, a step on the sphere, halving by decisions."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.exercises import Exercise


def check_estimate(answer: object) -> None:
    """Judge `estimate(score, images, directions, h)`: central differences along directions.

    score is images (N, C, H, W) to numbers (N,), directions are (n, C, H, W) of ±1; the answer is
    the mean over directions of direction · (score(x + h u) − score(x − h u)) / 2h, (N, C, H, W).
    """
    draws = Generator().manual_seed(8)
    slope = torch.randn(12, generator=draws, dtype=torch.float64)
    images = torch.rand(3, 1, 3, 4, generator=draws, dtype=torch.float64)
    signs = torch.randn(5, 1, 3, 4, generator=draws, dtype=torch.float64).sign()
    asked: list[int] = []

    def score(batch: Tensor) -> Tensor:
        asked.append(len(batch))
        return batch.flatten(1) @ slope + 3 * batch.flatten(1).square().sum(dim=1)

    exercise = Exercise("8.1")
    solve = exercise.solution(answer, score, images, signs, 0.01)
    if solve is None:
        return
    asked.clear()
    found = solve(score, images, signs, 0.01)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return one gradient an image, of shape {tuple(images.shape)}.",
    )
    flat = signs.flatten(1)
    true = slope + 6 * images.flatten(1)
    expected = (true @ flat.T @ flat / len(flat)).view_as(images)
    hints = {
        2.0: "divide by 2h: the two probes lie 2h apart.",
        0.02: "divide by 2h, the way between the probes.",
        float(len(flat)): "take the mean over the directions, not the sum.",
    }
    for factor, hint in hints.items():
        exercise.require(not torch.allclose(found, factor * expected, rtol=1e-6), hint)
    exercise.require(
        torch.allclose(found, expected, rtol=1e-6, atol=1e-8),
        "the estimate must be exact on a quadratic score: probe both sides of the image.",
    )
    exercise.require(
        sum(asked) == 2 * len(images) * len(signs),
        f"{len(signs)} directions cost {2 * len(signs)} queries an image, yours asked "
        f"{sum(asked) / len(images):g}.",
    )
    exercise.confirm("A gradient, and nobody was asked for one.")


def check_sphere_step(answer: object) -> None:
    """Judge `sphere_step(clean, current, draws, size)`: a step around the clean image.

    All (N, C, H, W) but the size, a share of the distance. The step is taken along the part of the
    draws at right angles to clean − current; the result lies as far from clean as current does.
    """
    draws = Generator().manual_seed(9)
    clean, current, noise = torch.randn(3, 4, 1, 3, 5, generator=draws, dtype=torch.float64)
    size = 0.2
    exercise = Exercise("8.2")
    solve = exercise.solution(answer, clean, current, noise, size)
    if solve is None:
        return
    found = solve(clean, current, noise, size)
    exercise.require(
        isinstance(found, Tensor) and found.shape == clean.shape,
        f"return images of shape {tuple(clean.shape)}.",
    )
    before, after = ((side - clean).flatten(1) for side in (current, found))
    away = before.norm(dim=1)
    exercise.require(
        torch.allclose(after.norm(dim=1), away, rtol=1e-6),
        "the new point must be as far from the clean image as the old one: after the step, go "
        "back to the sphere.",
    )
    cosine = (before * after).sum(dim=1) / away.square()
    exercise.require(
        torch.allclose(cosine, torch.full_like(cosine, (1 + size**2) ** -0.5), rtol=1e-6),
        "before it goes back to the sphere, the step is `size` times the distance long and at "
        "right angles to the way to the image.",
    )
    aside = after - cosine[:, None] * before
    wanted = noise.flatten(1)
    wanted = wanted - (wanted * before).sum(dim=1, keepdim=True) / away[:, None] ** 2 * before
    alike = torch.nn.functional.cosine_similarity(aside, wanted)
    exercise.require(
        bool((alike > 1 - 1e-6).all()),
        "remove from each image's draws their part along its own way to the clean image.",
    )
    exercise.confirm("One such step, one decision: the boundary attack needs no more.")


def check_halve(answer: object) -> None:
    """Judge `halve(is_adversarial, clean, start, times)`: a line halved by decisions, (N, C, H, W).

    is_adversarial is images to (N,) bool. What comes back is adversarial, image by image.
    """
    draws = Generator().manual_seed(10)
    clean = torch.rand(6, 1, 2, 3, generator=draws, dtype=torch.float64)
    start = clean + 1 + torch.rand(6, 1, 2, 3, generator=draws, dtype=torch.float64)
    ends = torch.tensor([0.1, 0.3, 0.49, 0.51, 0.8, 0.97], dtype=torch.float64)
    asked: list[int] = []

    def is_adversarial(images: Tensor) -> Tensor:
        asked.append(len(images))
        gone = (images - clean).flatten(1)[:, 0] / (start - clean).flatten(1)[:, 0]
        return gone >= ends - 1e-12

    exercise = Exercise("8.3")
    solve = exercise.solution(answer, is_adversarial, clean, start, 8)
    if solve is None:
        return
    asked.clear()
    found = solve(is_adversarial, clean, start, 8)
    exercise.require(
        isinstance(found, Tensor) and found.shape == clean.shape,
        f"return images of shape {tuple(clean.shape)}.",
    )
    queries = sum(asked) / len(clean)
    gone = ((found - clean) / (start - clean)).flatten(1)
    exercise.require(
        bool((gone >= ends[:, None] - 1e-9).all()),
        "what comes back must be adversarial: keep the end of the line that is, not the middle.",
    )
    exercise.require(
        bool((gone - ends[:, None] <= 2**-8 + 1e-9).all()),
        "after 8 halvings at most 1/256 of the line may be left; each image has its own ends.",
    )
    exercise.require(queries <= 9, f"8 halvings cost 8 queries an image, yours asked {queries:g}.")
    exercise.confirm("Ten queries bring a start within a thousandth of its line to the boundary.")
