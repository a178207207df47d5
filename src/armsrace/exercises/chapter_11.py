"""Checks of chapter 11: softmax at a temperature, the student's loss, a gradient called back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks import fgsm
from armsrace.defenses import softened
from armsrace.exercises import Exercise

LOGITS = torch.tensor([[2.0, 0.0, -2.0], [30.0, 10.0, 20.0], [0.0, 0.0, 400.0]])
BUDGET = 0.15


def check_softened(answer: object) -> None:
    """Judge `softened(logits, temperature)`: softmax(z / T), (N, K), finite for large logits."""
    exercise, temperature = Exercise("11.1"), 4.0
    solve = exercise.solution(answer, LOGITS, temperature)
    if solve is None:
        return
    found = solve(LOGITS, temperature)
    exercise.require(
        isinstance(found, Tensor) and found.shape == LOGITS.shape,
        f"return a tensor of shape {tuple(LOGITS.shape)}.",
    )
    exercise.require(
        bool(torch.isfinite(found).all()),
        "e⁴⁰⁰ is too large for float32, and e¹⁰⁰ too: take the greatest logit away first, or let "
        "torch.softmax do it.",
    )
    exercise.require(
        not torch.allclose(found, (temperature * LOGITS).softmax(1)),
        "this gets surer with T: divide by it.",
    )
    exercise.require(
        not torch.allclose(found, LOGITS.softmax(1) / temperature),
        "the logits are divided by T, not the confidences: each row must still sum to 1.",
    )
    exercise.require(
        torch.allclose(found, softened(LOGITS, temperature), atol=1e-5),
        f"for z = (2, 0, −2) and T = 4 the confidences are (0.506, 0.307, 0.186); yours are "
        f"{[round(value, 3) for value in found[0].tolist()]}.",
    )
    exercise.confirm("The order of the classes stays; only the sureness goes.")


def check_student_loss(answer: object) -> None:
    """Judge `student_loss(logits, teachers, temperature)`: the objective of distillation.

    logits and teachers (N, K), both at T = 1. The answer is the batch's mean cross-entropy of
    softmax(logits / T) with softmax(teachers / T), in nats.
    """
    exercise, temperature = Exercise("11.2"), 5.0
    teachers = torch.tensor([[10.0, 6.0, -4.0], [-3.0, 9.0, 8.0]])
    logits = torch.tensor([[2.0, 1.0, -6.0], [1.0, 12.0, -2.0]])
    solve = exercise.solution(answer, logits, teachers, temperature)
    if solve is None:
        return
    found = solve(logits, teachers, temperature)
    exercise.require(
        isinstance(found, Tensor) and found.ndim == 0, "return one number, a tensor of no dimension"
    )
    soft = softened(teachers, temperature)
    hints = {
        functional.cross_entropy(logits, soft): "the student learns at T too: divide its logits.",
        functional.cross_entropy(logits / temperature, teachers.softmax(1)): "the teacher's labels "
        "are as soft as T makes them: divide its logits too.",
        functional.cross_entropy(logits / temperature, teachers.argmax(1)): "these are hard "
        "labels: all that the teacher knows of the other classes is lost.",
        functional.cross_entropy(logits / temperature, soft, reduction="sum"): "this is the sum "
        "over the batch: take the mean.",
    }
    for wrong, hint in hints.items():
        exercise.require(not torch.allclose(found, wrong, rtol=1e-4), hint)
    expected = functional.cross_entropy(logits / temperature, soft)
    exercise.require(
        torch.allclose(found, expected, rtol=1e-4),
        f"for the two images here it is {expected:.3f} nats; yours is {float(found):.3f}.",
    )
    exercise.confirm("Its least value is the teacher's entropy: zero is out of reach.")


def check_awakened(answer: object) -> None:
    """Judge `awakened(model)`: a callable that decides as `model` does and can be attacked.

    The model's logits are a linear model's, multiplied by a factor that is not told. FGSM on the
    answer must turn as many images as on the linear model itself.
    """
    exercise = Exercise("11.3")
    draws = torch.Generator().manual_seed(0)
    weights = torch.randn(36, 3, generator=draws)
    images = torch.rand(60, 1, 6, 6, generator=draws)

    def linear(batch: Tensor) -> Tensor:
        return (batch.flatten(1) - 0.5) @ weights

    labels = linear(images).argmax(dim=1)
    best = fgsm(linear, images, labels, epsilon=BUDGET).success.float().mean()
    solve = exercise.solution(answer, linear)
    if solve is None:
        return
    for factor in (30.0, 1000.0, 1e5):
        model = _times(factor, linear)
        awake = solve(model)
        exercise.require(callable(awake), "return a callable, images (N, C, H, W) to (N, K).")
        exercise.require(
            torch.equal(awake(images).argmax(dim=1), labels),
            "your callable decides otherwise than the model: only its scale may change.",
        )
        turned = fgsm(awake, images, labels, epsilon=BUDGET).success.float().mean()
        exercise.require(
            bool(turned > best - 0.1),
            f"with logits {factor:g} times as large FGSM turns {turned:.0%} of the images, and "
            f"{best:.0%} could be: the factor is not told, so read it off the logits.",
        )
    exercise.confirm("A defense that is a factor is undone by one, known or not.")


def _times(factor: float, model: object) -> object:
    return lambda batch: factor * model(batch)  # type: ignore[operator]
