"""Checks of chapter 1: noise of the same length, the linear case, how straight a line is."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.attacks.norms import distances
from armsrace.exercises import Exercise


def check_matched_noise(answer: object) -> None:
    """Judge `matched_noise(perturbations, generator)`, (N, C, H, W) to the same shape.

    Each perturbation's noise must have its own L2 length and a random direction, drawn by the
    generator alone.
    """
    exercise = Exercise("1.1")
    sizes = torch.tensor([0.5, 3.0, 7.0]).view(-1, 1, 1, 1)
    perturbations = sizes * torch.randn(3, 1, 28, 28, generator=Generator().manual_seed(1))
    solve = exercise.solution(answer, perturbations, Generator().manual_seed(2))
    if solve is None:
        return
    seeds = (2, 2, 3)
    noise, again, other = (solve(perturbations, Generator().manual_seed(seed)) for seed in seeds)
    exercise.require(
        isinstance(noise, Tensor) and noise.shape == perturbations.shape,
        f"return a tensor of shape {tuple(perturbations.shape)}.",
    )
    ratios = distances(noise, "l2") / distances(perturbations, "l2")
    exercise.require(
        torch.allclose(ratios, torch.ones(3), atol=1e-4),
        "each image's noise must have the length of that image's perturbation; yours are "
        f"{', '.join(f'{value:.3g}' for value in ratios.tolist())} times as long. "
        "Take the norm over C, H and W, not over the batch.",
    )
    cosine = torch.cosine_similarity(noise.flatten(1), perturbations.flatten(1)).abs().max()
    exercise.require(
        float(cosine) < 0.2, "the direction must be random: yours follows the perturbation."
    )
    exercise.require(
        torch.equal(noise, again), "draw from the generator given, and from nothing else."
    )
    exercise.require(not torch.equal(noise, other), "another generator must give other noise.")
    exercise.confirm("Equal length, no direction: the control that every attack needs.")


def check_largest_change(answer: object) -> None:
    """Judge `largest_change(weights, epsilon)`: weights (D,), the answer max w·δ over ‖δ‖∞ ≤ ε."""
    exercise = Exercise("1.2")
    weights, epsilon = torch.tensor([3.0, -1.0, 0.0, 2.0]), 0.5
    solve = exercise.solution(answer, weights, epsilon)
    if solve is None:
        return
    value = float(solve(weights, epsilon))
    exercise.require(
        abs(value - 2.0) > 1e-5,
        "ε Σ w is what δ = ε everywhere gives; let each δ take the sign that helps.",
    )
    exercise.require(
        abs(value - 0.5 * 14**0.5) > 1e-4, "that is ε‖w‖₂, the answer for a budget in L2."
    )
    exercise.require(
        abs(value - 3.0) < 1e-5,
        f"for w = {weights.tolist()} and ε = {epsilon} you got {value:g}; "
        "try every δ with entries ±ε by hand.",
    )
    wide = float(solve(torch.full((784,), 0.1), 0.1))
    exercise.require(abs(wide - 7.84) < 1e-3, "the answer must grow with the number of pixels.")
    exercise.confirm("ε‖w‖₁ grows with the number of pixels, though none moves by more than ε.")


def check_r_squared(answer: object) -> None:
    """Judge `r_squared(x, y)`: both (S,), the share of y's variance that a line in x explains."""
    exercise = Exercise("1.3")
    x = torch.linspace(-1, 1, 41)
    line, bent = 2 * x + 5, 2 * x + 5 + x**2
    solve = exercise.solution(answer, x, line)
    if solve is None:
        return
    straight, value, flat = (float(solve(x, y)) for y in (line, bent, x**2))
    exercise.require(
        abs(straight - 1) < 1e-4,
        f"a straight line, offset included, has R² = 1; yours is {straight:g}. "
        "Fit an intercept as well as a slope.",
    )
    # x and x² are uncorrelated on a symmetric grid, so the residual is x² about its mean.
    expected = float(1 - (x**2).var(correction=0) / bent.var(correction=0))
    exercise.require(
        abs(value - expected) < 1e-3,
        f"for y = 5 + 2x + x² on [−1, 1] your R² is {value:.4f}. R² = 1 − (sum of squared "
        "residuals) / (sum of squared deviations from the mean of y).",
    )
    exercise.require(abs(flat) < 1e-3, "a parabola about 0 has no slope to explain: R² = 0.")
    exercise.confirm("Now you can say how straight a line is, and not only look at it.")
