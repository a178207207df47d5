"""Checks of the exercises on distillation: temperature, the student's loss, a lost gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks import fgsm
from armsrace.defenses import soft_labels
from armsrace.exercises import Exercise

LOGITS = torch.tensor([[2.0, 0.0, -2.0], [30.0, 10.0, 20.0], [0.0, 0.0, 400.0]])
BUDGET = 0.15


def check_softened(answer: object) -> None:
    """Check `softened(logits, temperature)`: softmax(z / T), (N, K), finite for large logits."""
    exercise, temperature = Exercise("Temperature"), 4.0
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
        "e⁴⁰⁰ is too large for float32, and so is e¹⁰⁰: subtract the largest logit first, or "
        "use torch.softmax.",
    )
    exercise.require(
        not torch.allclose(found, (temperature * LOGITS).softmax(1)),
        "this becomes more confident with T: divide by it.",
    )
    exercise.require(
        not torch.allclose(found, LOGITS.softmax(1) / temperature),
        "divide the logits by T, not the confidences: each row must still sum to 1.",
    )
    exercise.require(
        torch.allclose(found, soft_labels(LOGITS, temperature), atol=1e-5),
        f"for z = (2, 0, −2) and T = 4 the confidences are (0.506, 0.307, 0.186); yours are "
        f"{[round(value, 3) for value in found[0].tolist()]}.",
    )
    exercise.confirm("The order of the classes stays the same; only the confidence decreases.")


def check_student_loss(answer: object) -> None:
    """Check `student_loss(logits, teachers, temperature)`: the objective of distillation.

    logits and teachers: (N, K), both at T = 1. The result is the batch's mean cross-entropy of
    softmax(logits / T) with softmax(teachers / T), in nats.
    """
    exercise, temperature = Exercise("The student's loss"), 5.0
    teachers = torch.tensor([[10.0, 6.0, -4.0], [-3.0, 9.0, 8.0]])
    logits = torch.tensor([[2.0, 1.0, -6.0], [1.0, 12.0, -2.0]])
    solve = exercise.solution(answer, logits, teachers, temperature)
    if solve is None:
        return
    found = solve(logits, teachers, temperature)
    exercise.require(
        isinstance(found, Tensor) and found.ndim == 0,
        "return one number, a tensor without dimensions.",
    )
    soft = soft_labels(teachers, temperature)
    hints = {
        functional.cross_entropy(
            logits, soft
        ): "the student is trained at T too: divide its logits.",
        functional.cross_entropy(logits / temperature, teachers.softmax(1)): "the teacher's labels "
        "are soft because of T: divide its logits too.",
        functional.cross_entropy(logits / temperature, teachers.argmax(1)): "these are hard "
        "labels, which lose what the teacher knows about the other classes.",
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
    exercise.confirm("Its minimum is the teacher's entropy, not zero.")


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
            "your callable decides differently from the model: only its scale may change.",
        )
        fooled = fgsm(awake, images, labels, epsilon=BUDGET).success.float().mean()
        exercise.require(
            bool(fooled > reference - 0.1),
            f"with logits {factor:g} times as large, FGSM succeeds on {fooled:.0%} of the images "
            f"instead of {reference:.0%}. The factor is unknown: estimate it from the logits.",
        )
    exercise.confirm("A defense that is a factor can be undone by a factor, even if it is unknown.")


def _times(factor: float, model: object) -> object:
    """The model with its logits multiplied by a factor."""
    return lambda batch: factor * model(batch)  # type: ignore[operator]
