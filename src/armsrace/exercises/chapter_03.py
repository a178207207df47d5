"""Checks of chapter 3: a targeted step, a step without labels, the exact distance."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.attacks import fgsm
from armsrace.contracts import Model
from armsrace.exercises import Exercise

EPSILON = 0.2


def _problem() -> tuple[Model, Tensor, Tensor]:
    """A network of one hidden layer, 16 images of 4 by 4 pixels, and its own predictions."""
    draws = Generator().manual_seed(3)
    images = torch.rand(16, 1, 4, 4, generator=draws)
    hidden, output = (torch.randn(16, 16, generator=draws), torch.randn(16, 5, generator=draws))

    def model(batch: Tensor) -> Tensor:
        return torch.tanh(batch.flatten(1) @ hidden / 4) @ output

    return model, images, model(images).argmax(dim=1)


def check_targeted_step(answer: object) -> None:
    """Judge `targeted_step(model, images, targets, epsilon)`: one step (N, C, H, W) to a target.

    model: images to logits (N, K). targets: (N,) int64. The step is ε (L∞, pixel units) long and
    must end inside [0, 1].
    """
    model, images, predictions = _problem()
    targets = (predictions + 1) % 5
    exercise = Exercise("3.1")
    solve = exercise.solution(answer, model, images, targets, EPSILON)
    if solve is None:
        return
    moved = solve(model, images, targets, EPSILON)
    _require_step(exercise, moved, images)
    right = fgsm(model, images, predictions, epsilon=EPSILON, targets=targets).images
    away = fgsm(model, images, targets, epsilon=EPSILON).images
    exercise.require(
        not torch.allclose(moved, away, atol=1e-6),
        "this moves away from the target: go down the loss of the target, not up.",
    )
    exercise.require(
        torch.allclose(moved, right, atol=1e-6),
        "some pixel differs from x − ε sign ∇J(x, target); take the gradient of the target's "
        "loss in the image, one sum over the batch.",
    )
    exercise.confirm("One sign turns “away from the label” into “towards the target”.")


def check_step_without_labels(answer: object) -> None:
    """Judge `step_without_labels(model, images, epsilon)`: FGSM on what the model itself says.

    model: images to logits (N, K). The step is ε (L∞, pixel units) long, inside [0, 1].
    """
    model, images, predictions = _problem()
    exercise = Exercise("3.2")
    solve = exercise.solution(answer, model, images, EPSILON)
    if solve is None:
        return
    moved = solve(model, images, EPSILON)
    _require_step(exercise, moved, images)
    towards = fgsm(model, images, predictions, epsilon=EPSILON, targets=predictions).images
    exercise.require(
        not torch.allclose(moved, towards, atol=1e-6),
        "this makes the model surer of what it says: go up the loss of its prediction, not down.",
    )
    right = fgsm(model, images, predictions, epsilon=EPSILON).images
    exercise.require(
        torch.allclose(moved, right, atol=1e-6),
        "some pixel differs from x + ε sign ∇J(x, prediction); the prediction is the greatest "
        "logit's class.",
    )
    exercise.confirm("A step that never saw the label cannot leak it.")


def check_smallest_epsilon(answer: object) -> None:
    """Judge `smallest_epsilon(weights, biases, images, labels)` of a linear model of two classes.

    weights: (2, D), biases: (2,), images: (N, D), labels: (N,) in {0, 1}. The answer (N,) is the
    smallest ‖δ‖∞ that reaches the boundary, without the box; 0 where the model is already wrong.
    """
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.5, 1.0, 0.0]])
    biases = torch.tensor([0.5, -0.5])
    images = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.2], [0.0, 1.0, 0.2], [0.5, 0.1, 0.5]])
    labels = torch.tensor([0, 1, 0, 0])
    exercise = Exercise("3.3")
    solve = exercise.solution(answer, weights, biases, images, labels)
    if solve is None:
        return
    found = solve(weights, biases, images, labels)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (4,),
        "return one number an image, of shape (4,).",
    )
    normal = weights[0] - weights[1]
    margins = (images @ normal + biases[0] - biases[1]) * torch.tensor([1, -1, 1, 1])
    exercise.require(
        not torch.allclose(found[:2], margins[:2] / normal.norm(), atol=1e-5),
        "that is the distance in L2; in L∞ every pixel moves at once: divide by ‖w‖₁.",
    )
    exercise.require(
        not torch.allclose(found, margins.abs() / normal.abs().sum(), atol=1e-5)
        and bool((found >= 0).all()),
        "an image that is already wrong needs no step: its distance is 0.",
    )
    exercise.require(
        torch.allclose(found, margins.clamp_min(0) / normal.abs().sum(), atol=1e-5),
        f"your answer is {[round(value, 4) for value in found.tolist()]}; the margin is the "
        "label's logit minus the other one, and a step ε lowers it by ε ‖w₀ − w₁‖₁.",
    )
    exercise.confirm("For a linear model the whole robustness curve is this one formula.")


def _require_step(exercise: Exercise, moved: object, images: Tensor) -> None:
    exercise.require(
        isinstance(moved, Tensor) and moved.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    assert isinstance(moved, Tensor)
    exercise.require(
        float(moved.min()) >= 0 and float(moved.max()) <= 1,
        "some pixel leaves [0, 1]: clip after the step.",
    )
    largest = float((moved - images).abs().max())
    exercise.require(
        abs(largest - EPSILON) < 1e-5,
        f"no pixel may move by more than ε = {EPSILON}, and most move by just that; your "
        f"largest change is {largest:.3g}.",
    )
