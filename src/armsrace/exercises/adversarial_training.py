"""Checks of the exercises on adversarial training: the loss, label leaking, a new gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from armsrace.attacks import fgsm
from armsrace.exercises import Exercise


def _model() -> Callable[[Tensor], Tensor]:
    """A linear model of three classes."""
    weights = 3 * torch.randn(9, 3, generator=Generator().manual_seed(10))
    return lambda images: (images.flatten(1) - 0.5) @ weights


def _images(count: int) -> Tensor:
    """Images (N, 1, 3, 3) that no step of 0.2 takes out of the box."""
    return 0.2 + 0.6 * torch.rand(count, 1, 3, 3, generator=Generator().manual_seed(11))


def check_mixed_loss(answer: object) -> None:
    """Check `mixed_loss(model, images, labels, epsilon, alpha)`: α J(clean) + (1 − α) J(FGSM)."""
    model, images, labels = _model(), _images(8), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    exercise = Exercise("The loss")
    solve = exercise.solution(answer, model, images, labels, 0.1, 0.25)
    if solve is None:
        return
    found = solve(model, images, labels, 0.1, 0.25)
    exercise.require(
        isinstance(found, Tensor) and found.numel() == 1,
        "return one number, the mean over the batch, as a differentiable tensor.",
    )
    x_adv = fgsm(model, images, labels, epsilon=0.1).images
    clean, attacked = (functional.cross_entropy(model(batch), labels) for batch in (images, x_adv))
    hints = {
        "alpha is the weight of the clean images, 1 − alpha that of the adversarial ones.": 0.75
        * clean
        + 0.25 * attacked,
        "take the mean over a batch, not the sum.": 8 * (0.25 * clean + 0.75 * attacked),
        "the adversarial images are missing, or the step has length 0.": clean,
        "the step must increase the loss; yours decreases it.": 0.25 * clean
        + 0.75 * functional.cross_entropy(model((2 * images - x_adv).clamp(0, 1)), labels),
    }
    for hint, wrong in hints.items():
        exercise.require(abs(float(found) - float(wrong)) > 1e-4, hint)
    right = 0.25 * clean + 0.75 * attacked
    exercise.require(
        abs(float(found) - float(right)) < 1e-4,
        f"for alpha = 0.25 the loss is {float(right):.4f}, yours {float(found):.4f}.",
    )
    exercise.confirm("Any attack can take the place of FGSM; the loss stays the same.")


def check_blind_step(answer: object) -> None:
    """Check `blind_step(model, images, epsilon)`: FGSM from the class that the model predicts."""
    model, images = _model(), _images(16)
    exercise = Exercise("A step that does not leak")
    solve = exercise.solution(answer, model, images, 0.1)
    if solve is None:
        return
    found = solve(model, images, 0.1)
    predictions = model(images).argmax(dim=1)
    right = fgsm(model, images, predictions, epsilon=0.1).images
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    exercise.require(
        not found.requires_grad, "detach the images: training treats them as constants."
    )
    exercise.require(
        not torch.allclose(found, (2 * images - right).clamp(0, 1), atol=1e-5),
        "that step makes the model more confident: increase the loss.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "that is not the step away from the class with the largest logit.",
    )
    exercise.confirm("Images made without a label cannot leak it.")


def check_reopened(answer: object) -> None:
    """Check `reopened(hard, soft)`: a function with the values of hard and the gradient of soft."""
    points = torch.tensor([-2.0, -0.1, 0.0, 0.3, 4.0])
    exercise = Exercise("Give a slope back")
    solve = exercise.solution(answer, torch.relu, functional.softplus)
    if solve is None:
        return
    joined = solve(torch.relu, functional.softplus)
    exercise.require(callable(joined), "return a function of a tensor, not its values.")
    leaf = points.clone().requires_grad_()
    values = joined(leaf)
    exercise.require(
        not torch.allclose(values, functional.softplus(points)),
        "the values must be those of hard: the attack must see the network's own logits.",
    )
    exercise.require(
        torch.allclose(values, torch.relu(points), atol=1e-6), "the values are not those of hard."
    )
    exercise.require(values.requires_grad, "the result has no gradient: do not detach all of soft.")
    (grad,) = torch.autograd.grad(values.sum(), leaf)
    exercise.require(
        not torch.allclose(grad, (points > 0).float() + points.sigmoid(), atol=1e-5),
        "the gradients of hard and soft are added: detach hard.",
    )
    exercise.require(
        torch.allclose(grad, points.sigmoid(), atol=1e-5),
        "the gradient is not that of soft.",
    )
    exercise.confirm("An attack follows the gradient of soft and is judged by the values of hard.")
