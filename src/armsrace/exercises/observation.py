"""Checks of the exercises on the observation: noise, the linear case, lines, three gradients."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.models import zoo
from armsrace.norms import distances


def check_matched_noise(answer: object) -> None:
    """Check `matched_noise(perturbations, generator)`: (N, C, H, W) to the same shape.

    The noise must have the L2 norm of its perturbation and a random direction, drawn only from the
    generator.
    """
    exercise = Exercise("Noise of the same length")
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
        "each image's noise must be as long as its perturbation; yours are "
        f"{', '.join(f'{value:.3g}' for value in ratios.tolist())} times as long. "
        "Take the norm over C, H and W, not over the batch.",
    )
    cosine = torch.cosine_similarity(noise.flatten(1), perturbations.flatten(1)).abs().max()
    exercise.require(
        float(cosine) < 0.2, "the direction must be random: yours is close to the perturbation's."
    )
    exercise.require(torch.equal(noise, again), "draw from the given generator, and nothing else.")
    exercise.require(not torch.equal(noise, other), "another generator must give different noise.")
    exercise.confirm("Noise of equal length is the control that every attack needs.")


def check_largest_change(answer: object) -> None:
    """Check `largest_change(weights, epsilon, k)`: max w·δ over ‖δ‖∞ ≤ ε, ‖δ‖₀ ≤ k, for w (D,)."""
    exercise = Exercise("The linear case")
    weights, epsilon = torch.tensor([3.0, -1.0, 0.0, 2.0]), 0.5
    solve = exercise.solution(answer, weights, epsilon, 4)
    if solve is None:
        return
    value = float(solve(weights, epsilon, 4))
    exercise.require(
        abs(value - 2.0) > 1e-5,
        "ε Σ w is the result for δ = ε everywhere; choose the sign of each δ.",
    )
    exercise.require(
        abs(value - 0.5 * 14**0.5) > 1e-4, "that is ε‖w‖₂, the answer for a budget in L2."
    )
    exercise.require(
        abs(value - 3.0) < 1e-5,
        f"for w = {weights.tolist()} and ε = {epsilon} you got {value:g}; "
        "try every δ with entries ±ε by hand.",
    )
    wide = float(solve(torch.full((784,), 0.1), 0.1, 784))
    exercise.require(abs(wide - 7.84) < 1e-3, "the result must grow with the number of pixels.")
    two = float(solve(torch.tensor([1.0, -3.0, 0.0, 2.0]), epsilon, 2))
    exercise.require(
        abs(two - 2.5) < 1e-5,
        f"for w = [1, −3, 0, 2], ε = {epsilon} and k = 2 you got {two:g}; choose the two "
        "pixels with the largest |w|, whatever their sign.",
    )
    exercise.confirm(
        "ε‖w‖₁ grows with the number of pixels, although no pixel changes by more than ε."
    )


def check_r_squared(answer: object) -> None:
    """Check `r_squared(x, y)`: both (S,), the fraction of y's variance that a line explains."""
    exercise = Exercise("How straight is a line?")
    x = torch.linspace(-1, 1, 41)
    line, bent = 2 * x + 5, 2 * x + 5 + x**2
    solve = exercise.solution(answer, x, line)
    if solve is None:
        return
    straight, value, flat = (float(solve(x, y)) for y in (line, bent, x**2))
    exercise.require(
        abs(straight - 1) < 1e-4,
        f"a straight line, through 0 or not, has R² = 1; yours is {straight:g}. "
        "Fit an intercept as well as a slope.",
    )
    # x and x² are uncorrelated on a symmetric grid, so the residual is x² about its mean.
    expected = float(1 - (x**2).var(correction=0) / bent.var(correction=0))
    exercise.require(
        abs(value - expected) < 1e-3,
        f"for y = 5 + 2x + x² on [−1, 1] your R² is {value:.4f}. R² = 1 − (sum of squared "
        "residuals) / (sum of squared deviations from the mean of y).",
    )
    exercise.require(abs(flat) < 1e-3, "a parabola around 0 has no linear part: R² = 0.")
    exercise.confirm("Now you can measure how straight a line is.")


def check_three_gradients(answer: object) -> None:
    """Check `attack(model, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε.

    The model is the 16-32-64 network, and the images are 100 digits. The model answers at most
    three times per image. At least 50 digits must be misclassified.
    """
    exercise, epsilon = Exercise("Three gradients"), 0.1
    sample = datasets.load("mnist", "test").take(100, Generator().manual_seed(271))
    model = zoo.load("s3-cnn")
    metered = Metered(exercise, model, 3 * len(sample))
    solve = exercise.solution(answer, metered, sample.images, sample.labels, epsilon)
    if solve is None:
        return
    metered.shown = 0
    found = solve(metered, sample.images.clone(), sample.labels.clone(), epsilon)
    moved = require_budget(exercise, sample.images, found, epsilon)
    fooled = int((model(moved).argmax(dim=1) != sample.labels).sum())
    exercise.require(
        fooled >= 50,
        f"{fooled} of 100 digits are misclassified; the bar is 50. Spend the budget in shorter "
        "steps, with a new gradient for each.",
    )
    exercise.confirm(f"{fooled} of 100 digits are misclassified. Can another loss do better?")
