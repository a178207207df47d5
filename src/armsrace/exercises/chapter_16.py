"""Checks of chapter 16: what a linear prior draws, when to stop, an attack through the prior."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.exercises import Exercise


def linear_prior(kernel: Tensor, rate: float, steps: int) -> Tensor:
    """The matrix (D, D) from an image to its drawing after steps of gradient descent from zero.

    kernel: K = J Jᵀ (D, D), which stays as it is. rate: what K is multiplied by at each step.
    """
    identity = torch.eye(len(kernel), dtype=kernel.dtype)
    return identity - torch.linalg.matrix_power(identity - rate * kernel, steps)


def _smoothing(size: int) -> Tensor:
    """A kernel (D, D) of which neighbours have much in common, its eigenvalues in (0, 1]."""
    places = torch.arange(size, dtype=torch.float64)
    kernel = torch.exp(-((places[:, None] - places).square()) / 4)
    return kernel / torch.linalg.eigvalsh(kernel).max()


def check_drawing(answer: object) -> None:
    """Judge `drawing(kernel, image, rate, steps)`: what is drawn after so many corrections, (D,).

    kernel: (D, D). image: (D,). The drawing begins at zero, and each step adds rate · K · residual.
    """
    kernel, image = _smoothing(12), torch.linspace(-1, 1, 12, dtype=torch.float64).square()
    exercise = Exercise("16.1")
    solve = exercise.solution(answer, kernel, image, 0.5, 3)
    if solve is None:
        return
    exercise.require(
        isinstance(solve(kernel, image, 0.5, 3), Tensor)
        and solve(kernel, image, 0.5, 3).shape == image.shape,
        "return one image, of the shape (D,) of the one given.",
    )
    exercise.require(
        bool((solve(kernel, image, 0.5, 0) == 0).all()), "after no steps nothing is drawn yet."
    )
    first = solve(kernel, image, 0.5, 1)
    exercise.require(
        not torch.allclose(first, kernel @ image),
        "each correction is multiplied by the rate.",
    )
    exercise.require(
        torch.allclose(first, 0.5 * kernel @ image),
        "the first step adds rate · K · x, since the residual is the whole image.",
    )
    for steps in (2, 40):
        exercise.require(
            torch.allclose(solve(kernel, image, 0.5, steps), _drawn(kernel, image, 0.5, steps)),
            f"right after one step and wrong after {steps}: the residual is the image minus what "
            "is drawn by then.",
        )
    exercise.confirm("The smooth parts of the image have arrived, the rough ones hardly.")


def check_stop(answer: object) -> None:
    """Judge `first_within(residuals, tolerance)`: where each image stops, int64 (N,).

    residuals: (S, N), a row a step. The first step whose residual is at most the tolerance; the
    last one where none is.
    """
    residuals = torch.tensor([[0.5, 0.3, 0.9], [0.2, 0.4, 0.8], [0.1, 0.1, 0.7], [0.3, 0.05, 0.6]])
    exercise = Exercise("16.2")
    solve = exercise.solution(answer, residuals, 0.2)
    if solve is None:
        return
    found = solve(residuals, 0.2)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one place an image, a tensor of shape (3,).",
    )
    exercise.require(int(found[0]) != 2, "a residual equal to the tolerance is within it: use <=.")
    exercise.require(
        int(found[0]) != 3, "the first step within the tolerance counts, not the last one."
    )
    exercise.require(
        int(found[0]) == 1 and int(found[1]) == 2, "each image, a column, stops by itself."
    )
    exercise.require(
        int(found[2]) == 3, "an image that never comes within the tolerance takes all steps."
    )
    exercise.confirm("The rule never asks whether the image was attacked.")


def check_through(answer: object) -> None:
    """Judge `through(weights, prior, epsilon)`: δ with ‖δ‖₂ = ε that lowers weights · prior · δ.

    weights: (D,), of a linear score. prior: (D, D), from an image to its drawing. δ: (D,), the one
    that lowers the score of the drawing most.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(12, generator=generator, dtype=torch.float64)
    prior = linear_prior(_smoothing(12), 0.5, 6)
    skewed = prior + 0.1 * torch.randn(12, 12, generator=generator, dtype=torch.float64)
    exercise = Exercise("16.3")
    solve = exercise.solution(answer, weights, skewed, 0.5)
    if solve is None:
        return
    found = solve(weights, skewed, 0.5)
    exercise.require(
        isinstance(found, Tensor) and found.shape == weights.shape, "return one δ of shape (D,)."
    )
    exercise.require(
        bool(torch.isclose(found.norm(), found.new_tensor(0.5))),
        f"the budget is 0.5 in L2 and may be used up; yours is {found.norm():.3f} long.",
    )
    best = skewed.T @ weights
    exercise.require(float(best @ found) < 0, "the score must fall, not rise: mind the sign.")
    exercise.require(
        not torch.allclose(found, -0.5 * weights / weights.norm()),
        "that is the attack on the score alone: the prior takes much of it away.",
    )
    onward = skewed @ weights
    exercise.require(
        not torch.allclose(found, -0.5 * onward / onward.norm()),
        "backwards through a matrix goes its transpose.",
    )
    exercise.require(
        torch.allclose(found, -0.5 * best / best.norm()),
        "the score of the drawing is linear in δ: what is its gradient?",
    )
    exercise.confirm("It is smooth: the prior has told the attacker what it lets pass.")


def _drawn(kernel: Tensor, image: Tensor, rate: float, steps: int) -> Tensor:
    return linear_prior(kernel, rate, steps) @ image
