"""Checks of the exercises on distillation: exact logits, a lost gradient, no gradient at all."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace import datasets
from armsrace.attacks import fgsm
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.models import zoo

COUNTS = torch.tensor([[3.0, 1.0, 4.0], [1.0, 1.0, 1.0], [90.0, 9.0, 1.0]])
BUDGET = 0.15


def check_exact_logits(answer: object) -> None:
    """Check `exact_logits(counts, temperature)`: what training at T would answer, (N, K).

    counts: (N, K), how often image n is in the training set with the label k. The result minimizes
    the cross-entropy at T of each image alone, and its mean over the classes is zero.
    """
    exercise, temperature = Exercise("What the labels ask for"), 20.0
    solve = exercise.solution(answer, COUNTS, temperature)
    if solve is None:
        return
    found = solve(COUNTS, temperature)
    exercise.require(
        isinstance(found, Tensor) and found.shape == COUNTS.shape,
        f"return a tensor of shape {tuple(COUNTS.shape)}.",
    )
    expected = temperature * COUNTS.log()
    expected = expected - expected.mean(dim=1, keepdim=True)
    exercise.require(
        not torch.allclose(
            found - found.mean(dim=1, keepdim=True), expected / temperature, atol=1e-3
        ),
        "these are the logits at T = 1; at a higher temperature they must be larger.",
    )
    exercise.require(
        torch.allclose((found / temperature).softmax(1), expected.div(temperature).softmax(1)),
        "at T the confidences must be the frequencies of the labels; for the counts (3, 1, 4) "
        f"yours are {[round(p, 3) for p in (found[0] / temperature).softmax(0).tolist()]}.",
    )
    exercise.require(
        torch.allclose(found, expected, atol=1e-4),
        "the confidences are right, but a constant added to all logits changes nothing: choose it "
        "so that each row's mean is zero.",
    )
    exercise.confirm("Training at T asks for logits T times as large, for any labels.")


def check_awakened(answer: object) -> None:
    """Check `awakened(model)`: a callable that decides as `model` does and can be attacked.

    The model's logits are those of a linear model times an unknown factor. FGSM on the answer must
    fool it on as many images as on the linear model itself.
    """
    exercise = Exercise("Break it without knowing T")
    draws = torch.Generator().manual_seed(0)
    weights = torch.randn(36, 3, generator=draws)
    images = torch.rand(60, 1, 6, 6, generator=draws)

    def linear(batch: Tensor) -> Tensor:
        return (batch.flatten(1) - 0.5) @ weights

    labels = linear(images).argmax(dim=1)
    reference = fgsm(linear, images, labels, epsilon=BUDGET).success.float().mean()
    solve = exercise.solution(answer, linear)
    if solve is None:
        return
    for factor in (30.0, 1000.0, 1e5):
        model = _times(factor, linear)
        awake = solve(model)
        exercise.require(callable(awake), "return a callable, images (N, C, H, W) to (N, K).")
        exercise.require(
            torch.equal(awake(images).argmax(dim=1), labels),
            "your callable decides differently from the model: only the scale may change.",
        )
        fooled = fgsm(awake, images, labels, epsilon=BUDGET).success.float().mean()
        exercise.require(
            bool(fooled > reference - 0.1),
            f"with logits {factor:g} times as large, FGSM succeeds on {fooled:.0%} of the images "
            f"instead of {reference:.0%}. The factor is unknown: estimate it from the logits.",
        )
    exercise.confirm("A defense that is a factor can be undone by a factor, even if it is unknown.")


def check_served(answer: object) -> None:
    """Check `attack(served, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ epsilon.

    served: the distilled network's confidences, without a gradient, for 20 queries per digit. At
    least 14 of 30 digits must be misclassified.
    """
    exercise, epsilon = Exercise("Not one gradient"), 0.25
    student = zoo.load("distilled-100")
    drawn = datasets.load("mnist", "test").take(60, torch.Generator().manual_seed(4))
    with torch.no_grad():
        right = (student(drawn.images).argmax(1) == drawn.labels).nonzero()[:30, 0]
    images, labels = drawn.images[right], drawn.labels[right]

    @torch.no_grad()
    def confidences(batch: Tensor) -> Tensor:
        return student(batch).softmax(dim=1)

    served = Metered(exercise, confidences, 20 * len(images))
    solve = exercise.solution(answer, served, images, labels, epsilon)
    if solve is None:
        return
    served.shown = 0
    moved = require_budget(
        exercise, images, solve(served, images.clone(), labels.clone(), epsilon), epsilon
    )
    with torch.no_grad():
        fooled = int((student(moved).argmax(1) != labels).sum())
    exercise.require(
        fooled >= 14,
        f"{fooled} of {len(images)} digits are misclassified; the bar is 14. An image that "
        "fools networks of your own is one attempt, and you have twenty queries for each digit: "
        "try different images.",
    )
    exercise.confirm(f"{fooled} of {len(images)} digits, and no gradient of the defense.")


def _times(factor: float, model: object) -> object:
    """The model with its logits multiplied by a factor."""
    return lambda batch: factor * model(batch)  # type: ignore[operator]
