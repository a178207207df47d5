"""Checks of chapter 6: the nearest hyperplane in L∞, a median with failures, a step of DDN."""

from __future__ import annotations

import torch
from torch import Tensor

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


def check_median_distance(answer: object) -> None:
    """Judge `median_distance(distances, success)`: the median of (N,), failures infinitely far."""
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
    exercise.require(
        float(solve(distances, torch.ones(5, dtype=torch.bool))) == 0.5,
        "an image that was misclassified from the start is a success at distance 0: only success "
        "says what failed.",
    )
    exercise.confirm("A failure is never near.")


def check_sphere_step(answer: object) -> None:
    """Judge `sphere_step(delta, slope, radius, adversarial, length, gamma)`: (delta, radius)."""
    delta, slope = torch.tensor([0.3, 0.4, 0.0]), torch.tensor([0.0, 0.0, 2e-3])
    exercise = Exercise("6.3")
    solve = exercise.solution(answer, delta, slope, 0.5, True, 0.5, 0.05)
    if solve is None:
        return
    for adversarial, expected in ((True, 0.475), (False, 0.525)):
        found = solve(delta, slope, 0.5, adversarial, 0.5, 0.05)
        exercise.require(
            isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Tensor),
            "return the new perturbation and the new radius.",
        )
        moved, radius = found[0], float(found[1])
        exercise.require(
            abs(radius - expected) < 1e-6,
            f"from radius 0.5 a step that finds the image {'' if adversarial else 'not '}"
            f"adversarial leads to {expected:g}, got {radius:.4g}: shrink after a success only.",
        )
        size = float(moved.norm())
        exercise.require(
            abs(size - expected) < 1e-5,
            f"the perturbation came out {size:.4g} long: it must lie on the new sphere, also where "
            "it was shorter.",
        )
        # The unit step has the length of delta, so that the two share the new direction.
        share = float(moved[2]) / size
        exercise.require(
            abs(share - 0.5**0.5) < 1e-5,
            "the direction is wrong: add a step of the given length along the gradient, however "
            "short that is, and then set the norm.",
        )
    exercise.confirm("The gradient decides the direction alone, and the answer the length.")
