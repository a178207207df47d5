"""Checks of the exercises on training in one step: the loss, leaking, a coin toss, transfer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from armsrace import datasets
from armsrace.attacks import bim, fgsm
from armsrace.exercises import Exercise, require_budget
from armsrace.models import zoo


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
    exercise.confirm("Any attack can take the place of FGSM. The loss stays the same.")


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
        "that step makes the model more confident: step so that the loss increases.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "that is not the step away from the class with the largest logit.",
    )
    exercise.confirm("Images made without a label cannot leak it.")


def check_toss(answer: object) -> None:
    """Check `toss_and_step(model, images, labels, epsilon, a, coins)`: RAND+FGSM.

    coins: (N, C, H, W) of ±1. The first move is a times the coins, and the second is a sign step
    along the gradient there. Together they stay within epsilon and the box.
    """
    draws = Generator().manual_seed(12)
    weights = torch.randn(9, 3, generator=draws)
    images, labels = 0.05 + 0.9 * torch.rand(6, 1, 3, 3, generator=draws), torch.arange(6) % 3
    coins = torch.randint(0, 2, images.shape, generator=draws) * 2.0 - 1

    def model(batch: Tensor) -> Tensor:
        return 8 * (batch.flatten(1) - 0.5) ** 2 @ weights

    def sign(at: Tensor) -> Tensor:
        at = at.clone().requires_grad_()
        loss = functional.cross_entropy(model(at), labels, reduction="sum")
        return torch.autograd.grad(loss, at)[0].sign()

    exercise = Exercise("A toss within the budget")
    solve = exercise.solution(answer, model, images, labels, 0.2, 0.05, coins)
    if solve is None:
        return
    found = solve(model, images, labels, 0.2, 0.05, coins)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    found = found.detach()
    exercise.require(bool(found.min() >= 0 and found.max() <= 1), "pixels leave [0, 1]: clip them.")
    exercise.require(
        bool((found - images).abs().max() < 0.2 + 1e-5),
        "toss and step together leave the budget: the step may use only what the toss leaves.",
    )
    start = (images + 0.05 * coins).clamp(0, 1)
    at_image = (start + 0.15 * sign(images)).clamp(0, 1)
    exercise.require(
        not torch.allclose(found, at_image, atol=1e-5),
        "take the gradient after the toss: the network may mask its gradient at the image itself.",
    )
    exercise.require(
        torch.allclose(found, (start + 0.15 * sign(start)).clamp(0, 1), atol=1e-5),
        "that is not a move by the coins and a sign step of ε − a along the gradient there.",
    )
    exercise.confirm(
        "The toss costs part of the budget, but it escapes the curved loss at the image."
    )


def check_strangers(answer: object) -> None:
    """Check `attack(sources, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε = 0.3.

    sources: three models that had no part in the training of the hidden one. Of 60 digits, at least
    four more must be misclassified by the hidden model than under ten steps of BIM on the first
    source.
    """
    exercise, epsilon = Exercise("Strangers together"), 0.3
    sample = datasets.load("mnist", "test").take(60, Generator().manual_seed(310))
    images, labels = sample.images, sample.labels
    sources = [zoo.load(name) for name in ("tramer-b", "s3-cnn", "maxout")]
    solve = exercise.solution(answer, sources, images[:2], labels[:2], epsilon)
    if solve is None:
        return
    found = solve(sources, images.clone(), labels.clone(), epsilon)
    moved = require_budget(exercise, images, found, epsilon)
    hidden = zoo.load("tramer-a-ensemble")
    alone = bim(sources[0], images, labels, epsilon=epsilon, steps=10, step_size=epsilon / 10)
    with torch.no_grad():
        fooled = int((hidden(moved).argmax(dim=1) != labels).sum())
        bar = int((hidden(alone.images).argmax(dim=1) != labels).sum()) + 4
    exercise.require(
        fooled >= bar,
        f"{fooled} of {len(images)} digits are misclassified by the hidden network; the bar is "
        f"{bar}. Attack all three sources at once: what fools them together transfers better.",
    )
    exercise.confirm(f"{fooled} of {len(images)} digits fool a network that you have not seen.")
