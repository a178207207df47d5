"""Checks of chapter 10: the mixed loss, a step that does not leak, a layer with another slope."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from armsrace.attacks import fgsm
from armsrace.exercises import Exercise


def _model() -> Callable[[Tensor], Tensor]:
    weights = 3 * torch.randn(9, 3, generator=Generator().manual_seed(10))
    return lambda images: (images.flatten(1) - 0.5) @ weights


def _images(count: int) -> Tensor:
    return 0.2 + 0.6 * torch.rand(count, 1, 3, 3, generator=Generator().manual_seed(11))


def check_mixed_loss(answer: object) -> None:
    """Judge `mixed_loss(model, images, labels, epsilon, alpha)`: α J(clean) + (1 − α) J(FGSM)."""
    model, images, labels = _model(), _images(8), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    exercise = Exercise("10.1")
    solve = exercise.solution(answer, model, images, labels, 0.1, 0.25)
    if solve is None:
        return
    found = solve(model, images, labels, 0.1, 0.25)
    exercise.require(
        isinstance(found, Tensor) and found.numel() == 1,
        "return one number, the mean over the batch, as a tensor that can be differentiated.",
    )
    moved = fgsm(model, images, labels, epsilon=0.1).images
    clean, attacked = (functional.cross_entropy(model(batch), labels) for batch in (images, moved))
    hints = {
        "alpha weighs the clean images, 1 − alpha the attacked ones.": 0.75 * clean
        + 0.25 * attacked,
        "take the mean over a batch, not the sum.": 8 * (0.25 * clean + 0.75 * attacked),
        "the attacked images are missing, or the step has length 0.": clean,
        "the step must go up the loss: it came out going down.": 0.25 * clean
        + 0.75 * functional.cross_entropy(model((2 * images - moved).clamp(0, 1)), labels),
    }
    for hint, wrong in hints.items():
        exercise.require(abs(float(found) - float(wrong)) > 1e-4, hint)
    right = 0.25 * clean + 0.75 * attacked
    exercise.require(
        abs(float(found) - float(right)) < 1e-4,
        f"for alpha = .25 the loss is {float(right):.4f}, yours {float(found):.4f}.",
    )
    exercise.confirm("Any attack can stand in place of FGSM: the loss stays the same.")


def check_blind_step(answer: object) -> None:
    """Judge `blind_step(model, images, epsilon)`: FGSM from the class that the model reads."""
    model, images = _model(), _images(16)
    exercise = Exercise("10.2")
    solve = exercise.solution(answer, model, images, 0.1)
    if solve is None:
        return
    found = solve(model, images, 0.1)
    read = model(images).argmax(dim=1)
    right = fgsm(model, images, read, epsilon=0.1).images
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    exercise.require(not found.requires_grad, "detach the images: training takes them as given.")
    exercise.require(
        not torch.allclose(found, (2 * images - right).clamp(0, 1), atol=1e-5),
        "that step makes the model surer: go up the loss.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "that is not the step away from the class with the greatest logit.",
    )
    exercise.confirm("What no label went into, no label can be read from.")


def check_reopened(answer: object) -> None:
    """Judge `reopened(hard, soft)`: a function with the values of hard and the slopes of soft."""
    points = torch.tensor([-2.0, -0.1, 0.0, 0.3, 4.0])
    exercise = Exercise("10.3")
    solve = exercise.solution(answer, torch.relu, functional.softplus)
    if solve is None:
        return
    joined = solve(torch.relu, functional.softplus)
    exercise.require(callable(joined), "return a function of a tensor, not its values.")
    moving = points.clone().requires_grad_()
    values = joined(moving)
    exercise.require(
        not torch.allclose(values, functional.softplus(points)),
        "the values must be those of hard: what is attacked must be the network itself.",
    )
    exercise.require(
        torch.allclose(values, torch.relu(points), atol=1e-6), "its values are not those of hard."
    )
    exercise.require(values.requires_grad, "the result has no gradient: do not detach soft whole.")
    (slopes,) = torch.autograd.grad(values.sum(), moving)
    exercise.require(
        not torch.allclose(slopes, (points > 0).float() + points.sigmoid(), atol=1e-5),
        "the slopes of hard and soft add up: detach hard.",
    )
    exercise.require(
        torch.allclose(slopes, points.sigmoid(), atol=1e-5),
        "its slopes are not those of soft.",
    )
    exercise.confirm("An attack on it climbs soft and is judged by hard.")
