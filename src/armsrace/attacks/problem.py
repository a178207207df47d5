"""What every attack is given, checked once, and the few things that all of them do with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from armsrace.attacks.asking import answer, evaluating
from armsrace.attacks.margins import Loss, cross_entropy
from armsrace.contracts import (
    AttackResult,
    Bounds,
    Model,
    check_classes,
    check_images,
    check_labels,
    check_logits,
)


@dataclass(frozen=True)
class Problem:
    """A model, images (N, C, H, W), true labels (N,), wanted targets (N,) or None, and the box."""

    model: Model
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    bounds: Bounds

    def logits(self, images: Tensor) -> Tensor:
        """The model's answer (N, K) for images (N, C, H, W), checked to be logits."""
        logits = answer(self.model, images)
        check_logits(logits, len(images))
        check_classes(self.labels, logits.shape[1])
        if self.targets is not None:
            check_classes(self.targets, logits.shape[1], "targets")
        return logits

    def fooled(self, logits: Tensor) -> Tensor:
        """(N,) bool: predicted the target, or without targets anything but the label."""
        predictions = logits.argmax(dim=1)
        if self.targets is None:
            return predictions != self.labels
        return predictions == self.targets

    def ascent(self, images: Tensor, loss: Loss = cross_entropy) -> tuple[Tensor, Tensor]:
        """The direction (N, C, H, W) in which an image becomes more adversarial, and the loss (N,).

        That is the gradient of the label's loss, or minus that of the target's. Losses are summed
        over the batch, so an image's gradient does not know its neighbours. Raises ValueError
        where the model's answer does not depend differentiably on the images.
        """
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            losses = self.adversarial_loss(self.logits(images), loss)
            return gradient_of(losses.sum(), images), losses.detach()

    def jacobian(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and the gradient of each (N, K, C, H, W): one pass forward, K backward.

        The loop over classes takes the memory of one batch and half the time of a single backward
        pass through K copies of it, and asks nothing of the callable. Raises ValueError as
        `ascent` does.
        """
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(images)
            rows = [gradient_of(total, images, again=True) for total in logits.sum(dim=0)]
            return logits.detach(), torch.stack(rows, dim=1)

    @torch.no_grad()
    def loss(self, images: Tensor, loss: Loss = cross_entropy) -> tuple[Tensor, Tensor]:
        """How adversarial each image is (N,), as `ascent` climbs it, and whether it fools (N,)."""
        logits = self.logits(images)
        return self.adversarial_loss(logits, loss), self.fooled(logits)

    def subset(self, kept: Tensor) -> Problem:
        """The same problem for the images chosen by a bool mask or indices (M,)."""
        targets = None if self.targets is None else self.targets[kept]
        return replace(self, images=self.images[kept], labels=self.labels[kept], targets=targets)

    @torch.no_grad()
    def finish(
        self, images: Tensor, queries: int | Tensor, gradients: int | Tensor
    ) -> AttackResult:
        """The result for adversarial images; success is read off one more forward pass."""
        images = images.detach()
        success = self.fooled(self.logits(images))
        count = torch.zeros_like(self.labels)
        return AttackResult(images, success, count + queries + 1, count + gradients)

    def finish_nearest(self, images: Tensor, queries: Tensor, gradients: Tensor) -> AttackResult:
        """As `finish`, for a search of the nearest: where it failed, the clean image comes back."""
        result = self.finish(images, queries, gradients)
        kept = torch.where(result.success.view(-1, 1, 1, 1), result.images, self.images)
        return replace(result, images=kept)

    def adversarial_loss(self, logits: Tensor, loss: Loss) -> Tensor:
        """(N,), greater where more adversarial: the loss of the label, or minus the target's."""
        return loss(logits, self.labels) if self.targets is None else -loss(logits, self.targets)


def gradient_of(value: Tensor, images: Tensor, again: bool = False) -> Tensor:
    """The gradient of a number in the images, checked; again=True keeps the graph for another."""
    gradient: Tensor | None = None
    if value.requires_grad:
        gradient = torch.autograd.grad(value, images, retain_graph=again, allow_unused=True)[0]
    if gradient is None:
        raise ValueError("model must be differentiable in its images, got a constant")
    # The sum is not finite where one entry is not, and costs less than asking each.
    if not math.isfinite(gradient.sum()):
        raise ValueError("model must have a finite gradient in its images, got NaN or infinity")
    return gradient


@contextmanager
def posed(
    model: Model, images: Tensor, labels: Tensor, targets: Tensor | None, bounds: Bounds
) -> Iterator[Problem]:
    """Check the input and hold the model in evaluation mode while an attack runs.

    In training mode dropout and batch statistics would make a result depend on chance and on the
    other images; every submodule's own mode is restored afterwards.
    """
    if not callable(model):
        raise TypeError(f"model must be callable, images to logits, got {model!r}")
    check_images(images, bounds)
    check_labels(labels, len(images))
    if targets is not None:
        check_labels(targets, len(images), "targets")
    with evaluating(model), torch.inference_mode(False):
        wanted = None if targets is None else _ordinary(targets)
        yield Problem(model, _ordinary(images), _ordinary(labels), wanted, bounds)


def _ordinary(tensor: Tensor) -> Tensor:
    # Autograd refuses tensors made in inference mode, as predictions often are; not their clones.
    return tensor.clone() if tensor.is_inference() else tensor.detach()
