"""Checks of the exercises on attacks that fail: zero gradients, bent losses, scales, masks."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from armsrace import datasets
from armsrace.exercises import Exercise, require_budget
from armsrace.losses import dlr, margin
from armsrace.models import zoo


def check_silent(answer: object) -> None:
    """Check `silent(model, images, labels)`: the share of images with a gradient of exactly zero.

    The gradient is the cross-entropy's, with respect to the image.
    """
    images = torch.tensor([[0.5, 0.9, 0.1], [0.5, 0.501, 0.5], [0.2, 0.1, 0.8], [0.3, 0.5, 0.5]])
    images, labels = images.view(4, 1, 1, 3), torch.tensor([0, 0, 1, 1])

    def model(batch: Tensor) -> Tensor:
        return 1000 * batch.flatten(1)[:, 1:]

    exercise = Exercise("A silent gradient")
    solve = exercise.solution(answer, model, images, labels)
    if solve is None:
        return
    found = float(solve(model, images, labels))
    exercise.require(
        abs(found - 1) > 1e-6,
        "the first pixel has no gradient in any image: count images all of whose pixels have none.",
    )
    exercise.require(abs(found - 2 / 3) > 1e-6, "that is the share of pixels; count images.")
    exercise.require(
        abs(found - 0.5) < 1e-6,
        f"the loss of the first and the third image is exactly 0; your share is {found:.3g}.",
    )
    exercise.require(
        abs(float(solve(model, images[:2], 1 - labels[:2])) - 0.0) < 1e-6,
        "a wrong answer has a gradient, however confident it is.",
    )
    exercise.confirm("A sign step leaves such an image as it is, and the attack reports a failure.")


def check_kept(answer: object) -> None:
    """Check `kept(loss, images, epsilon)`: what a sign step gains, over what the gradient promises.

    loss: images (N, C, H, W) to (N,), differentiable. The result is (N,): the rise of the loss in a
    step of epsilon along the signs of the gradient, divided by ε ‖g‖₁.
    """
    images = 0.2 + 0.6 * torch.rand(4, 1, 2, 2, generator=Generator().manual_seed(14))
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0])

    def straight(batch: Tensor) -> Tensor:
        return batch.flatten(1) @ weights

    def bent(batch: Tensor) -> Tensor:
        return -(batch.flatten(1) - 0.9).square().sum(1)

    exercise = Exercise("What the gradient promises")
    solve = exercise.solution(answer, straight, images, 0.1)
    if solve is None:
        return
    found = solve(straight, images, 0.1)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (4,), "return one number for each image."
    )
    exercise.require(
        torch.allclose(found.detach(), torch.ones(4), atol=1e-4),
        "a straight loss keeps its promise: the rise is ε times the sum of the gradient's sizes.",
    )
    steep = 2 * (0.9 - images.flatten(1))
    promised = 0.5 * steep.abs().sum(1)
    rise = bent(images + 0.5) - bent(images)
    found = solve(bent, images, 0.5).detach()
    exercise.require(
        not torch.allclose(found, promised / rise, atol=1e-4), "divide the rise by the promise."
    )
    exercise.require(
        torch.allclose(found, rise / promised, atol=1e-4),
        "compare the loss after the whole step with the loss before, without clipping.",
    )
    exercise.confirm("Far below 1, the step overshoots: more and smaller steps find more.")


def check_ratio(answer: object) -> None:
    """Check `ratio(logits, labels)`: the difference-of-logits ratio (N,) of logits (N, K)."""
    logits = torch.tensor([[4.0, 1.0, 2.0, 0.0], [0.0, 3.0, 2.5, -1.0], [-5.0, -3.0, -9.0, -4.0]])
    labels = torch.tensor([0, 2, 1])
    exercise = Exercise("A loss without a scale")
    solve = exercise.solution(answer, logits, labels)
    if solve is None:
        return
    found = solve(logits, labels)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,), "return one number for each image."
    )
    right = dlr(logits, labels)
    exercise.require(
        not torch.allclose(found, -right), "the sign is wrong: an attacker maximizes this loss."
    )
    exercise.require(
        not torch.allclose(found, margin(logits, labels)),
        "that is the margin: it is 100 times larger for logits that are 100 times larger.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "take the best other logit minus the label's, divided by the largest minus the third.",
    )
    exercise.require(
        torch.allclose(solve(100 * logits, labels), right, atol=1e-5),
        "multiplying the logits by 100 must change nothing.",
    )
    exercise.confirm("No temperature can hide its gradient.")


class ThreeMasks(nn.Module):
    """A network behind a blur and a rounding, with logits a hundred times as large."""

    travels = ("network", "smooth", "quantize")

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @staticmethod
    def smooth(images: Tensor) -> Tensor:
        """The mean over 3 × 3 pixels, (N, 1, H, W)."""
        return functional.avg_pool2d(images, 3, stride=1, padding=1)

    @staticmethod
    def quantize(images: Tensor) -> Tensor:
        """The nearest of eight levels, (N, 1, H, W)."""
        return (7 * images).round() / 7

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, H, W) to logits (N, 10)."""
        logits: Tensor = self.network(self.quantize(self.smooth(images)))
        return 100 * logits


def check_unmask(answer: object) -> None:
    """Check `attack(defense, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε.

    defense: `ThreeMasks`, whose parts may be used. At least 40 of 50 digits must be misclassified.
    """
    exercise, epsilon = Exercise("Three masks at once"), 0.1
    defense = ThreeMasks(zoo.load("s3-cnn")).eval()
    drawn = datasets.load("mnist", "test").take(70, Generator().manual_seed(1009))
    with torch.no_grad():
        right = (defense(drawn.images).argmax(dim=1) == drawn.labels).nonzero()[:50, 0]
    images, labels = drawn.images[right], drawn.labels[right]
    solve = exercise.solution(answer, defense, images, labels, epsilon)
    if solve is None:
        return
    found = solve(defense, images.clone(), labels.clone(), epsilon)
    moved = require_budget(exercise, images, found, epsilon)
    with torch.no_grad():
        fooled = int((defense(moved).argmax(dim=1) != labels).sum())
    exercise.require(
        fooled >= 40,
        f"{fooled} of {len(images)} digits are misclassified; the bar is 40. Which of the three "
        "parts has a gradient, which needs a substitute, and which needs another loss?",
    )
    exercise.confirm(
        f"{fooled} of {len(images)} digits are misclassified, through all three masks."
    )
