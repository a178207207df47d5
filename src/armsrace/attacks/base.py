"""What all attacks share: input checks, loss and gradient, the result, Adam per image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from armsrace.contracts import (
    AttackResult,
    Bounds,
    Model,
    check_classes,
    check_images,
    check_labels,
    check_logits,
)
from armsrace.losses import Loss, cross_entropy
from armsrace.models.layers import eval_mode


def call_model(model: Model, images: Tensor) -> Tensor:
    """What the model returns; where a module raises, a note says if dtype or device do not fit.

    No check beforehand: a module may well take images of another dtype than its weights'.
    """
    try:
        return model(images)
    except RuntimeError as error:
        if isinstance(model, nn.Module) and (weight := next(model.parameters(), None)) is not None:
            for what, given, wanted in (
                ("dtype", images.dtype, weight.dtype),
                ("device", images.device, weight.device),
            ):
                if given != wanted:
                    error.add_note(f"images have the {what} {given}, the model's weights {wanted}")
        raise


@dataclass(frozen=True)
class AttackContext:
    """A model, images (N, C, H, W), labels (N,), targets (N,) or None, and the pixel bounds.

    decisions: only the greatest of the model's outputs is used, so they need not be logits.
    """

    model: Model
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    bounds: Bounds
    decisions: bool = False

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W), checked to be logits."""
        logits = call_model(self.model, images)
        check_logits(logits, len(images), self.decisions)
        check_classes(self.labels, logits.shape[1])
        if self.targets is not None:
            check_classes(self.targets, logits.shape[1], "targets")
        # Booleans, as a one-hot answer may be, have no argmax.
        return logits.to(images.dtype) if logits.dtype == torch.bool else logits

    def is_adversarial(self, logits: Tensor) -> Tensor:
        """(N,) bool: predicted the target, or without targets anything but the label."""
        predictions = logits.argmax(dim=1)
        if self.targets is None:
            return predictions != self.labels
        return predictions == self.targets

    def loss_and_grad(self, images: Tensor, loss: Loss = cross_entropy) -> tuple[Tensor, Tensor]:
        """The adversarial loss (N,) and its gradient (N, C, H, W) with respect to the images.

        That is the loss of the label, or minus the loss of the target: attacks maximize it. Losses
        are summed over the batch, so an image's gradient does not depend on its neighbors. Raises
        ValueError where the model's answer does not depend differentiably on the images.
        """
        losses, grad, _ = self.loss_grad_and_success(images, loss)
        return losses, grad

    def loss_grad_and_success(
        self, images: Tensor, loss: Loss = cross_entropy
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `loss_and_grad`, and which images are adversarial (N,), from the same pass."""
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(images)
            losses = self.adversarial_loss(logits, loss)
            grad = checked_grad(losses.sum(), images)
        return losses.detach(), grad, self.is_adversarial(logits.detach())

    def jacobian(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and the gradient of each (N, K, C, H, W): one pass forward, K backward.

        The loop over classes takes the memory of one batch and half the time of a single backward
        pass through K copies of it, and works for any callable. Raises ValueError as
        `loss_and_grad` does.
        """
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(images)
            rows = [checked_grad(total, images, retain_graph=True) for total in logits.sum(dim=0)]
            return logits.detach(), torch.stack(rows, dim=1)

    @torch.no_grad()
    def loss(self, images: Tensor, loss: Loss = cross_entropy) -> tuple[Tensor, Tensor]:
        """The loss (N,), as in `loss_and_grad`, and whether each image is adversarial (N,)."""
        logits = self.logits(images)
        return self.adversarial_loss(logits, loss), self.is_adversarial(logits)

    def select(self, kept: Tensor) -> AttackContext:
        """The same problem for the images chosen by a bool mask or indices (M,)."""
        targets = None if self.targets is None else self.targets[kept]
        return replace(self, images=self.images[kept], labels=self.labels[kept], targets=targets)

    @torch.no_grad()
    def result(
        self, images: Tensor, queries: int | Tensor, gradients: int | Tensor
    ) -> AttackResult:
        """The result for adversarial images; success is read off one more forward pass."""
        images = images.detach()
        success = self.is_adversarial(self.logits(images))
        count = torch.zeros_like(self.labels)
        return AttackResult(images, success, count + queries + 1, count + gradients)

    def minimal_result(self, images: Tensor, queries: Tensor, gradients: Tensor) -> AttackResult:
        """As `result`, for a minimal-norm search: where it failed, the clean image comes back."""
        result = self.result(images, queries, gradients)
        kept = torch.where(result.success.view(-1, 1, 1, 1), result.images, self.images)
        return replace(result, images=kept)

    def adversarial_loss(self, logits: Tensor, loss: Loss) -> Tensor:
        """(N,), greater where more adversarial: the loss of the label, or minus the target's."""
        return loss(logits, self.labels) if self.targets is None else -loss(logits, self.targets)


def checked_grad(value: Tensor, images: Tensor, retain_graph: bool = False) -> Tensor:
    """The gradient of a scalar with respect to the images, checked to be there and finite."""
    gradient: Tensor | None = None
    if value.requires_grad:
        gradient = torch.autograd.grad(value, images, retain_graph=retain_graph, allow_unused=True)[
            0
        ]
    if gradient is None:
        raise ValueError("model must be differentiable in its images, got a constant")
    # The sum is not finite where one entry is not, and costs less than asking each.
    if not math.isfinite(gradient.sum()):
        raise ValueError("model must have a finite gradient in its images, got NaN or infinity")
    return gradient


@contextmanager
def attack_context(
    model: Model, images: Tensor, labels: Tensor, targets: Tensor | None, bounds: Bounds,
    decisions: bool = False,
) -> Iterator[AttackContext]:  # fmt: skip
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
    with eval_mode(model), torch.inference_mode(False):
        wanted = None if targets is None else _ordinary(targets)
        yield AttackContext(model, _ordinary(images), _ordinary(labels), wanted, bounds, decisions)


def _ordinary(tensor: Tensor) -> Tensor:
    # Autograd refuses tensors made in inference mode, as predictions often are; not their clones.
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def check_start(start: Tensor, images: Tensor, bounds: Bounds) -> None:
    """Raise unless start is a batch of valid images of the shape of `images`."""
    if not isinstance(start, Tensor) or start.shape != images.shape:
        got = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise ValueError(f"start must have shape {tuple(images.shape)}, got {got}")
    check_images(start, bounds, "start")


class PerImage:
    """State with one row per image: `select` drops the rows of images that are finished."""

    def select(self, active: Tensor) -> None:
        """Keep the rows chosen by a bool mask (M,) of every tensor."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[active])


class PerImageAdam(PerImage):
    """Adam (Kingma and Ba 2015, Algorithm 1) whose rows have moments and step counts of their own.

    x (M, …): the variable being minimized. counts (M,): each row's steps since its last restart.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, x: Tensor, step_size: float) -> None:
        self.x, self.step_size = x.detach().clone(), step_size
        self._mean, self._square = torch.zeros_like(x), torch.zeros_like(x)
        self.counts = torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def variable(self) -> Tensor:
        """x (M, …), to differentiate an objective in."""
        return self.x.clone().requires_grad_()

    @torch.no_grad()
    def step(self, grad: Tensor, step_size: Tensor | None = None) -> None:
        """One step down the gradient (M, …); step_size (M,) in place of the constant one."""
        self.counts += 1
        self._mean.lerp_(grad, 1 - self.BETA1)
        self._square.mul_(self.BETA2).addcmul_(grad, grad, value=1 - self.BETA2)
        counts = self.counts.to(grad.dtype).view(-1, *[1] * (grad.ndim - 1))
        size = self.step_size if step_size is None else step_size.view_as(counts)
        mean = self._mean / (1 - self.BETA1**counts)
        square = self._square / (1 - self.BETA2**counts)
        self.x -= size * mean / (square.sqrt() + self.EPSILON)

    def restart(self, which: Tensor, x: Tensor) -> None:
        """Restart, with no moments, at x (M, …) where `which` (M,) is True."""
        self.x[which] = x[which]
        self._mean[which], self._square[which], self.counts[which] = 0, 0, 0
