"""Checks of the exercises on the deep image prior: a linear prior, stopping, two attacks."""

from __future__ import annotations

from functools import partial

import torch
from torch import Generator, Tensor, nn

from armsrace import datasets
from armsrace.exercises import Exercise
from armsrace.models import zoo
from armsrace.norms import distances


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
            f"correct after one step but wrong after {steps}: the residual is the image minus the "
            "current fit.",
        )
    exercise.confirm(
        "The smooth parts of the image are fitted first. The rough ones have hardly begun."
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
    """Check `through(weights, prior_matrix, epsilon)`: δ with ‖δ‖₂ = ε that lowers the score most.

    weights: (D,), of a linear score. prior_matrix: (D, D), from an image to its fit. δ: (D,), the
    perturbation that minimizes weights · prior_matrix · δ.
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
        "this δ attacks the score alone, and the prior removes much of it.",
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
    exercise.confirm(
        "δ is smooth: a gradient through the prior has only what the prior lets through."
    )


def _drawn(kernel: Tensor, image: Tensor, rate: float, steps: int) -> Tensor:
    """The fit (D,) after some steps."""
    return linear_prior(kernel, rate, steps) @ image


class SmoothPrior:
    """A linear prior on images of `size` × `size` pixels: a fit that draws smooth parts first.

    Its kernel is a Gaussian of a width of two pixels in both directions.

    Args:
        size: pixels of a side.
    """

    def __init__(self, size: int) -> None:
        places = torch.arange(float(size))
        kernel = torch.exp(-((places[:, None] - places).square()) / 8)
        values, self.vectors = torch.linalg.eigh(kernel)
        values = (values / values.max()).clamp_min(0)
        self.values = values[:, None] * values

    def __call__(self, images: Tensor, steps: int) -> Tensor:
        """What is drawn of images (N, C, H, W) after some steps from zero, at the rate 1."""
        parts = self.vectors.T @ images @ self.vectors
        return self.vectors @ (parts * (1 - (1 - self.values) ** steps)) @ self.vectors.T


STOPS = (4, 16, 64)
"""The steps that the defender of the challenge may take."""


def _stopped(prior: SmoothPrior, network: nn.Module, steps: int, images: Tensor) -> Tensor:
    """The logits of the drawing that a prior makes in some steps."""
    logits: Tensor = network(prior(images, steps))
    return logits


def check_three_stops(answer: object) -> None:
    """Check `attack(defenses, images, labels, epsilon)`: images within ‖δ‖₂ ≤ ε, (N, 1, 28, 28).

    defenses: three callables from images to logits, the 16-32-64 network behind a linear prior that
    stops after 4, 16 and 64 steps. At least 30 of 60 digits must be misclassified by all three.
    """
    exercise, epsilon = Exercise("One perturbation, three stops"), 1.5
    network, prior = zoo.load("s3-cnn"), SmoothPrior(28)
    defenses = [partial(_stopped, prior, network, steps) for steps in STOPS]
    sample = datasets.load("mnist", "test").take(80, Generator().manual_seed(19))

    def fooled(images: Tensor, labels: Tensor) -> Tensor:
        """Whether each of the three misclassifies each image, (3, N)."""
        with torch.no_grad():
            return torch.stack([each(images).argmax(1) != labels for each in defenses])

    right = ~fooled(sample.images, sample.labels).any(dim=0)
    images, labels = sample.images[right][:60], sample.labels[right][:60]
    solve = exercise.solution(answer, defenses, images[:1], labels[:1], epsilon)
    if solve is None:
        return
    found = solve(defenses, images.clone(), labels.clone(), epsilon)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    moved = found.detach()
    exercise.require(
        bool(((moved >= 0) & (moved <= 1)).all()),
        "some pixel is outside [0, 1] or is not a number.",
    )
    longest = float(distances(moved - images, "l2").max())
    exercise.require(
        longest <= epsilon + 1e-4, f"some ‖δ‖₂ is {longest:.3f}; the budget is {epsilon}."
    )
    each = fooled(moved, labels)
    together = int(each.all(dim=0).sum())
    counts = ", ".join(
        f"{int(one.sum())} after {steps}" for one, steps in zip(each, STOPS, strict=True)
    )
    exercise.require(
        together >= 30,
        f"{together} of {len(images)} digits are misclassified at all three stops ({counts} "
        "steps); the bar is 30. One gradient must serve all three stops: which of them still "
        "classifies the image correctly?",
    )
    exercise.confirm(f"{together} of {len(images)} digits are misclassified at all three stops.")
