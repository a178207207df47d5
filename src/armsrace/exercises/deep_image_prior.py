"""Checks of the exercises on the deep image prior: a linear prior, stopping, an attack."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.exercises import Exercise


def linear_prior(kernel: Tensor, rate: float, steps: int) -> Tensor:
    """The matrix (D, D) from an image to its fit after some steps of gradient descent from zero.

    kernel: K = J Jᵀ (D, D), which is constant. rate: the factor of K at each step.
    """
    identity = torch.eye(len(kernel), dtype=kernel.dtype)
    return identity - torch.linalg.matrix_power(identity - rate * kernel, steps)


def _smoothing(size: int) -> Tensor:
    """A kernel (D, D) that couples neighboring pixels, with eigenvalues in (0, 1]."""
    x = torch.arange(size, dtype=torch.float64)
    kernel = torch.exp(-((x[:, None] - x).square()) / 4)
    return kernel / torch.linalg.eigvalsh(kernel).max()


def check_drawing(answer: object) -> None:
    """Check `drawing(kernel, image, rate, steps)`: the fit (D,) after some steps.

    kernel: (D, D). image: (D,). The fit starts at zero, and each step adds rate · K · residual.
    """
    kernel, image = _smoothing(12), torch.linspace(-1, 1, 12, dtype=torch.float64).square()
    exercise = Exercise("Draw with a fixed kernel")
    solve = exercise.solution(answer, kernel, image, 0.5, 3)
    if solve is None:
        return
    exercise.require(
        isinstance(solve(kernel, image, 0.5, 3), Tensor)
        and solve(kernel, image, 0.5, 3).shape == image.shape,
        "return one image with the shape (D,) of the given one.",
    )
    exercise.require(
        bool((solve(kernel, image, 0.5, 0) == 0).all()), "after 0 steps the fit is still zero."
    )
    first = solve(kernel, image, 0.5, 1)
    exercise.require(
        not torch.allclose(first, kernel @ image),
        "multiply each step by the rate.",
    )
    exercise.require(
        torch.allclose(first, 0.5 * kernel @ image),
        "the first step adds rate · K · x, since the residual is the image itself.",
    )
    for steps in (2, 40):
        exercise.require(
            torch.allclose(solve(kernel, image, 0.5, steps), _drawn(kernel, image, 0.5, steps)),
            f"right after one step but wrong after {steps}: the residual is the image minus the "
            "current fit.",
        )
    exercise.confirm(
        "The smooth parts of the image are fitted first; the rough ones have hardly begun."
    )


def check_stop(answer: object) -> None:
    """Check `first_within(residuals, tolerance)`: the step at which each image stops, int64 (N,).

    residuals: (S, N), one row per step. The result is the first step whose residual is at most the
    tolerance, or the last step if there is none.
    """
    residuals = torch.tensor([[0.5, 0.3, 0.9], [0.2, 0.4, 0.8], [0.1, 0.1, 0.7], [0.3, 0.05, 0.6]])
    exercise = Exercise("Stop")
    solve = exercise.solution(answer, residuals, 0.2)
    if solve is None:
        return
    found = solve(residuals, 0.2)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one step per image, a tensor of shape (3,).",
    )
    exercise.require(int(found[0]) != 2, "a residual equal to the tolerance is within it: use <=.")
    exercise.require(
        int(found[0]) != 3, "take the first step within the tolerance, not the last one."
    )
    exercise.require(
        int(found[0]) == 1 and int(found[1]) == 2,
        "each image, which is a column, stops on its own.",
    )
    exercise.require(
        int(found[2]) == 3, "an image that never reaches the tolerance takes all steps."
    )
    exercise.confirm("The rule does not depend on whether the image was attacked.")


def check_through(answer: object) -> None:
    """Check `through(weights, prior, epsilon)`: δ with ‖δ‖₂ = ε that minimizes weights · prior · δ.

    weights: (D,), of a linear score. prior: (D, D), from an image to its fit. δ: (D,), the
    perturbation that lowers the score of the fit most.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(12, generator=generator, dtype=torch.float64)
    prior = linear_prior(_smoothing(12), 0.5, 6)
    skewed = prior + 0.1 * torch.randn(12, 12, generator=generator, dtype=torch.float64)
    exercise = Exercise("Attack through the prior")
    solve = exercise.solution(answer, weights, skewed, 0.5)
    if solve is None:
        return
    found = solve(weights, skewed, 0.5)
    exercise.require(
        isinstance(found, Tensor) and found.shape == weights.shape, "return one δ of shape (D,)."
    )
    exercise.require(
        bool(torch.isclose(found.norm(), found.new_tensor(0.5))),
        f"use the whole budget, 0.5 in L2; the length of yours is {found.norm():.3f}.",
    )
    best = skewed.T @ weights
    exercise.require(
        float(best @ found) < 0, "the score must decrease, not increase: check the sign."
    )
    exercise.require(
        not torch.allclose(found, -0.5 * weights / weights.norm()),
        "this attacks the score alone, and the prior removes much of it.",
    )
    onward = skewed @ weights
    exercise.require(
        not torch.allclose(found, -0.5 * onward / onward.norm()),
        "the gradient through a matrix is multiplied by its transpose.",
    )
    exercise.require(
        torch.allclose(found, -0.5 * best / best.norm()),
        "the score of the fit is linear in δ: what is its gradient?",
    )
    exercise.confirm("δ is smooth: the prior's gradient shows what the prior lets through.")


def _drawn(kernel: Tensor, image: Tensor, rate: float, steps: int) -> Tensor:
    """The fit (D,) after some steps."""
    return linear_prior(kernel, rate, steps) @ image
