"""Checks of chapter 6: the nearest hyperplane in L∞, a median with failures, the L2 ball."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.exercises import Exercise


def check_hyperplane(answer: object) -> None:
    """Judge `hyperplane(gap, normal)`: the least L∞ step (D,) with normal · step = gap."""
    normal = torch.tensor([3.0, -1.0, 0.5, 0.0, -0.5])
    exercise = Exercise("6.1")
    solve = exercise.solution(answer, 2.0, normal)
    if solve is None:
        return
    step = solve(2.0, normal)
    exercise.require(
        isinstance(step, Tensor) and step.shape == normal.shape,
        f"return a tensor of shape {tuple(normal.shape)}.",
    )
    closed = float(normal @ step)
    exercise.require(
        abs(closed - 2.0) < 1e-5,
        f"normal · step must be the gap, 2; it came out as {closed:.4g}.",
    )
    size, least = float(step.abs().max()), 2.0 / float(normal.abs().sum())
    exercise.require(
        size < least + 1e-6,
        f"its largest pixel moves by {size:.4g}, but {least:.4g} is enough: in L∞ every pixel may "
        "move as far as the largest.",
    )
    exercise.confirm("The gap over the L1 length of the normal: the dual norm.")


def check_mean_or_median(answer: object) -> None:
    """Judge `summary(distances, success)`: the median of (N,), failures infinitely far."""
    distances = torch.tensor([0.5, 0.0, 1.5, 0.0, 2.5])
    success = torch.tensor([True, False, True, False, True])
    exercise = Exercise("6.2")
    solve = exercise.solution(answer, distances, success)
    if solve is None:
        return
    value = float(solve(distances, success))
    hints = {
        0.5: "the failed searches returned the clean image: their distance is not 0.",
        1.5: "the failed images are missing from the count: the attack looks stronger by failing.",
        0.9: "a mean over everything takes the failures for distance 0.",
    }
    near = [hint for wrong, hint in hints.items() if abs(value - wrong) < 1e-5]
    exercise.require(
        abs(value - 2.5) < 1e-5,
        near[0] if near else f"got {value:.4g}; two of five failed, so the median is the largest.",
    )
    every = float(solve(distances, torch.tensor([False, False, False, True, True])))
    exercise.require(every == float("inf"), "where most searches failed, the median is infinite.")
    exercise.confirm("A failure is never near.")


def check_project(answer: object) -> None:
    """Judge `shrink(v, epsilon)`: the nearest point of the L2 ball to v (1, C, H, W)."""
    draws = Generator().manual_seed(6)
    v = torch.randn(1, 1, 6, 6, generator=draws)
    v = 3 * v / v.norm()
    exercise = Exercise("6.3")
    solve = exercise.solution(answer, v, 1.0)
    if solve is None:
        return
    exercise.require(
        torch.allclose(solve(v / 6, 1.0), v / 6, atol=1e-6),
        "what is inside the ball stays as it is: you may not lengthen it.",
    )
    found = solve(v, 1.0)
    exercise.require(
        abs(float(found.norm()) - 1) < 1e-4,
        f"the length came out as {float(found.norm()):.4g}; it must be 1.",
    )
    exercise.require(
        torch.allclose(found, v / 3, atol=1e-5),
        "the nearest point of the ball lies on the ray to its centre: scale, do not clip pixels.",
    )
    zero = solve(torch.zeros_like(v), 1.0)
    exercise.require(bool(torch.isfinite(zero).all()), "a perturbation of length 0 must stay 0.")
    exercise.confirm("It keeps its direction.")
