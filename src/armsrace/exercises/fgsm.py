"""Checks of the exercises on FGSM: steps, an exact distance, the gradient of another image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.attacks import fgsm
from armsrace.contracts import Model
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.models import zoo

EPSILON = 0.2


def _problem() -> tuple[Model, Tensor, Tensor]:
    """A network with one hidden layer, 16 images of 4 × 4 pixels, and its predictions."""
    draws = Generator().manual_seed(3)
    images = torch.rand(16, 1, 4, 4, generator=draws)
    hidden, output = (torch.randn(16, 16, generator=draws), torch.randn(16, 5, generator=draws))

    def model(batch: Tensor) -> Tensor:
        return torch.tanh(batch.flatten(1) @ hidden / 4) @ output

    return model, images, model(images).argmax(dim=1)


def check_targeted_step(answer: object) -> None:
    """Check `targeted_step(model, images, targets, epsilon)`: one step toward a target.

    model: images to logits (N, K). targets: (N,) int64. The length of the step is ε (L∞, pixel
    units), and the images (N, C, H, W) must stay inside [0, 1].
    """
    model, images, predictions = _problem()
    targets = (predictions + 1) % 5
    exercise = Exercise("Toward a target")
    solve = exercise.solution(answer, model, images, targets, EPSILON)
    if solve is None:
        return
    x_adv = solve(model, images, targets, EPSILON)
    _require_step(exercise, x_adv, images)
    right = fgsm(model, images, predictions, epsilon=EPSILON, targets=targets).images
    away = fgsm(model, images, targets, epsilon=EPSILON).images
    exercise.require(
        not torch.allclose(x_adv, away, atol=1e-6),
        "this moves away from the target: decrease the target's loss, do not increase it.",
    )
    exercise.require(
        torch.allclose(x_adv, right, atol=1e-6),
        "some pixel differs from x − ε sign ∇L(x, target); take the gradient of the target's "
        "loss with respect to the image, summed over the batch.",
    )
    exercise.confirm("One sign turns “away from the label” into “toward the target.”")


def check_step_without_labels(answer: object) -> None:
    """Check `step_without_labels(model, images, epsilon)`: FGSM on the model's own prediction.

    model: images to logits (N, K). The length of the step is ε (L∞, pixel units), and the images
    must stay inside [0, 1].
    """
    model, images, predictions = _problem()
    exercise = Exercise("A step that cannot leak the label")
    solve = exercise.solution(answer, model, images, EPSILON)
    if solve is None:
        return
    x_adv = solve(model, images, EPSILON)
    _require_step(exercise, x_adv, images)
    toward = fgsm(model, images, predictions, epsilon=EPSILON, targets=predictions).images
    exercise.require(
        not torch.allclose(x_adv, toward, atol=1e-6),
        "this makes the model more confident: increase the loss of its prediction.",
    )
    right = fgsm(model, images, predictions, epsilon=EPSILON).images
    exercise.require(
        torch.allclose(x_adv, right, atol=1e-6),
        "some pixel differs from x + ε sign ∇L(x, prediction); the prediction is the class "
        "with the largest logit.",
    )
    exercise.confirm("A step that never used the label cannot leak it.")


def check_smallest_epsilon(answer: object) -> None:
    """Check `smallest_epsilon(weights, biases, images, labels)` for a linear model of two classes.

    weights: (2, D). biases: (2,). images: (N, D). labels: (N,) in {0, 1}. The result (N,) is the
    smallest ‖δ‖∞ that reaches the boundary, without the box; 0 for a misclassified image.
    """
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.5, 1.0, 0.0]])
    biases = torch.tensor([0.5, -0.5])
    images = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.2], [0.0, 1.0, 0.2], [0.5, 0.1, 0.5]])
    labels = torch.tensor([0, 1, 0, 0])
    exercise = Exercise("The exact distance")
    solve = exercise.solution(answer, weights, biases, images, labels)
    if solve is None:
        return
    found = solve(weights, biases, images, labels)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (4,),
        "return one number per image, of shape (4,).",
    )
    normal = weights[0] - weights[1]
    margins = (images @ normal + biases[0] - biases[1]) * torch.tensor([1, -1, 1, 1])
    exercise.require(
        not torch.allclose(found[:2], margins[:2] / normal.norm(), atol=1e-5),
        "that is the distance in L2; in L∞ all pixels change at once: divide by ‖w‖₁.",
    )
    exercise.require(
        not torch.allclose(found, margins.abs() / normal.abs().sum(), atol=1e-5)
        and bool((found >= 0).all()),
        "a misclassified image needs no step: its distance is 0.",
    )
    exercise.require(
        torch.allclose(found, margins.clamp_min(0) / normal.abs().sum(), atol=1e-5),
        f"your answer is {[round(value, 4) for value in found.tolist()]}; the margin is the "
        "label's logit minus the other one, and a step ε lowers it by ε ‖w₀ − w₁‖₁.",
    )
    exercise.confirm("For a linear model the whole robustness curve is this one formula.")


def _require_step(exercise: Exercise, x_adv: object, images: Tensor) -> None:
    """Require images inside [0, 1] at a distance of ε."""
    exercise.require(
        isinstance(x_adv, Tensor) and x_adv.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    assert isinstance(x_adv, Tensor)
    exercise.require(
        float(x_adv.min()) >= 0 and float(x_adv.max()) <= 1,
        "some pixel leaves [0, 1]: clip after the step.",
    )
    largest = float((x_adv - images).abs().max())
    exercise.require(
        abs(largest - EPSILON) < 1e-5,
        f"no pixel may change by more than ε = {EPSILON}, and most change by exactly ε; your "
        f"largest change is {largest:.3g}.",
    )


def check_elsewhere(answer: object) -> None:
    """Check `attack(model, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε.

    The model was trained on FGSM images of the same ε, and withstands FGSM. Each of 100 digits may
    be shown to it twice. At least 60 must be misclassified.
    """
    exercise, epsilon = Exercise("The gradient of another image"), 0.3
    sample = datasets.load("mnist", "test").take(100, Generator().manual_seed(314))
    model = zoo.load("s3-cnn-fgsm")
    metered = Metered(exercise, model, 2 * len(sample))
    solve = exercise.solution(answer, metered, sample.images, sample.labels, epsilon)
    if solve is None:
        return
    metered.shown = 0
    found = solve(metered, sample.images.clone(), sample.labels.clone(), epsilon)
    moved = require_budget(exercise, sample.images, found, epsilon)
    fooled = int((model(moved).argmax(dim=1) != sample.labels).sum())
    exercise.require(
        fooled >= 60,
        f"{fooled} of 100 digits are misclassified; the bar is 60. The gradient at the image "
        "itself points the wrong way: take it at a point nearby, or at a paler image.",
    )
    exercise.confirm(
        f"{fooled} of 100 digits are misclassified, by one step from the image that FGSM starts at."
    )
