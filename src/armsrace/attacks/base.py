"""What all attacks share: input checks, loss and gradient, the result, Adam per image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from armsrace.contracts import (
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_classes,
    check_images,
    check_labels,
    check_logits,
    clipped_images,
)
from armsrace.losses import Loss, check_loss, cross_entropy
from armsrace.models.layers import eval_mode
from armsrace.norms import project

VALUES_PER_PASS = 2**22
"""Of the images of one forward pass, where an attack asks about many at once: 28 photographs."""

IN_PLACE = "model must not change its images in place, as sub_ or inplace=True would"


def call_model(model: Model, images: Tensor) -> Tensor:
    """What the model returns, in the dtype of the images.

    A model that changes its images is refused: its next answer would be for other images. Where a
    module raises, a note says if dtype or device do not fit. There is no check beforehand, since a
    module may well take images of another dtype than its weights'.
    """
    version = None if images.is_inference() else images._version
    try:
        logits = model(images)
    except RuntimeError as error:
        if "leaf Variable that requires grad" in str(error):
            raise ValueError(IN_PLACE) from error
        if isinstance(model, nn.Module) and (weight := next(model.parameters(), None)) is not None:
            for what, given, wanted in (
                ("dtype", images.dtype, weight.dtype),
                ("device", images.device, weight.device),
            ):
                if given != wanted:
                    error.add_note(f"images have the {what} {given}, the model's weights {wanted}")
        raise
    if version is not None and images._version != version:
        raise ValueError(IN_PLACE)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.dtype == images.dtype:
        return logits
    return _converted(logits, images.dtype)


def _converted(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits (N, K) in another dtype; the class with the greatest one stays the same."""
    converted = logits.to(dtype)
    if logits.dtype != torch.float64:
        return converted
    # A shorter dtype may make two classes equal, of which argmax takes the first.
    predicted = logits.argmax(dim=1, keepdim=True)
    own = converted.gather(1, predicted)
    tied = converted.argmax(dim=1, keepdim=True) != predicted
    higher = torch.nextafter(own.detach(), torch.full_like(own, torch.inf))
    return converted.scatter(1, predicted, own + torch.where(tied, higher - own, 0.0).detach())


class _InDtype:
    """A model that is shown its images in another dtype, as an attack in float32 needs."""

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        self._model, self._dtype = model, dtype
        self.last_class_rejects = rejects(model)

    def __call__(self, images: Tensor) -> Tensor:
        return call_model(self._model, images.to(self._dtype))


def rejects(model: Model) -> bool:
    """Whether the model's last class means "rejected": its attribute `last_class_rejects`."""
    return bool(getattr(model, "last_class_rejects", False))


@dataclass(frozen=True)
class AttackContext:
    """A model, images (N, C, H, W), labels (N,), targets (N,) or None, and the pixel bounds.

    A target may be the label: then the image is adversarial where the model predicts it. A model
    with the attribute `last_class_rejects = True`, as `defenses.Detected` has it, may reject an
    image by its last class. Without targets a rejected image is not adversarial.

    epsilon: the budget, a number or (N, 1, 1, 1). dtype: of the caller's images and of the result.
    An attack on images in half precision computes in float32, and the model sees half precision.
    decisions: only the greatest of the model's outputs is used, so they need not be logits.
    """

    model: Model
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    bounds: Bounds
    epsilon: Any = None
    dtype: torch.dtype | None = None
    decisions: bool = False

    def logits(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W), checked to be logits."""
        logits = call_model(self.model, images)
        check_logits(logits, len(images), self.decisions)
        check_classes(self.labels, logits.shape[1])
        if self.targets is not None:
            check_classes(self.targets, logits.shape[1], "targets")
        if self.targets is None and rejects(self.model):
            return self._rejection_as_label(logits)
        return logits

    def _rejection_as_label(self, logits: Tensor) -> Tensor:
        """Logits (N, K − 1): rejecting an image is as good as predicting its label.

        The label has the greater of the two logits, with the gradient of log(exp Z_y + exp Z_K).
        That of the maximum would vanish where the detector follows the runner-up class.
        """
        check_classes(self.labels, logits.shape[1] - 1)
        index, classes, rejection = self.labels[:, None], logits[:, :-1], logits[:, -1:]
        own = classes.gather(1, index)
        smooth = torch.logaddexp(own, rejection)
        value = torch.maximum(own, rejection).detach() + (smooth - smooth.detach())
        return classes.scatter(1, index, value)

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

    def jacobian(self, images: Tensor, candidates: int) -> tuple[Tensor, Tensor]:
        """Logits (N, M) and the gradient of each (N, M, C, H, W): one pass forward, M backward.

        First the label's, then those of the likeliest other classes; M is candidates, or K.
        The loop over classes takes the memory of one batch and half the time of a single backward
        pass through M copies of it, and works for any callable. Raises ValueError as
        `loss_and_grad` does.
        """
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(images)
            first = logits.detach().scatter(1, self.labels[:, None], torch.inf)
            classes = first.argsort(dim=1, descending=True, stable=True)[:, :candidates]
            logits = logits.gather(1, classes)
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
        epsilon = self.epsilon[kept] if isinstance(self.epsilon, Tensor) else self.epsilon
        return replace(
            self, images=self.images[kept], labels=self.labels[kept], targets=targets,
            epsilon=epsilon,
        )  # fmt: skip

    def within(self, x_adv: Tensor, norm: Norm, epsilon: float | Tensor | None = None) -> Tensor:
        """Images (N, C, H, W) of the ball, clipped to the box, and in half precision also rounded.

        The ball's radius is the budget, or an epsilon that is given: L1-APGD begins with more.

        Rounding to the nearest would leave the budget by up to half a unit in the last place, 5 %
        of 8/255 in bfloat16. So each pixel is rounded toward the clean one.
        """
        x_adv = self.bounds.clip(x_adv)
        if self.dtype is None or self.dtype == x_adv.dtype:
            return x_adv
        clean = self.images.to(self.dtype)
        radius = self.epsilon if epsilon is None else epsilon
        delta = project(x_adv.double() - clean.double(), norm, radius)
        rounded = (clean.double() + delta).to(self.dtype)
        too_far = (rounded.double() - clean.double()).abs() > delta.abs()
        return torch.where(too_far, torch.nextafter(rounded, clean), rounded).to(x_adv.dtype)

    @torch.no_grad()
    def result(
        self, images: Tensor, queries: int | Tensor, gradients: int | Tensor
    ) -> AttackResult:
        """The result for adversarial images; success is read off one more forward pass."""
        images = images.detach()
        success = self.is_adversarial(self.logits(images))
        images = images if self.dtype is None else images.to(self.dtype)
        count = torch.zeros_like(self.labels)
        return AttackResult(images, success, count + queries + 1, count + gradients)

    def minimal_result(self, images: Tensor, queries: Tensor, gradients: Tensor) -> AttackResult:
        """As `result`, for a minimal-norm search: where it failed, the clean image comes back."""
        result = self.result(images, queries, gradients)
        clean = self.images.to(result.images.dtype)
        kept = torch.where(result.success.view(-1, 1, 1, 1), result.images, clean)
        return replace(result, images=kept)

    def adversarial_loss(self, logits: Tensor, loss: Loss) -> Tensor:
        """(N,), greater where more adversarial: the loss of the label, or minus the target's."""
        check_loss(loss)
        losses = loss(logits, self.labels if self.targets is None else self.targets)
        if not isinstance(losses, Tensor) or losses.shape != self.labels.shape:
            got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                f"loss must return shape ({len(self.labels)},), one value per image, got {got}; "
                "a loss of torch.nn does with reduction='none'"
            )
        losses = losses.to(logits.dtype)
        return losses if self.targets is None else -losses

    @torch.no_grad()
    def aimed_at_likeliest(self, count: int) -> list[AimedContext]:
        """The untargeted problem, aimed at each of the likeliest wrong classes; one forward pass.

        The likeliest comes first; there are K − 1 at most.
        """
        logits = self.logits(self.images).scatter(1, self.labels[:, None], -torch.inf)
        order = logits.topk(min(count, logits.shape[1] - 1), dim=1).indices
        return [self.aimed_at(targets) for targets in order.T]

    def aimed_at(self, targets: Tensor) -> AimedContext:
        """The untargeted problem, aimed at targets (N,)."""
        return AimedContext(**(vars(self) | {"targets": targets}))


@dataclass(frozen=True)
class AimedContext(AttackContext):
    """An untargeted attack that aims: the loss is that of the targets, success any wrong class."""

    def logits(self, images: Tensor) -> Tensor:
        """As without an aim: to be rejected is no success."""
        logits = super().logits(images)
        return self._rejection_as_label(logits) if rejects(self.model) else logits

    def is_adversarial(self, logits: Tensor) -> Tensor:
        """(N,) bool: predicted anything but the label."""
        return logits.argmax(dim=1) != self.labels

    def gap(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Z_label − Z_target (N,), a loss: how far the target is behind the label."""
        own, wanted = logits.gather(1, torch.stack([self.labels, targets], dim=1)).T
        return own - wanted


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
    epsilon: float | Tensor | None = None, decisions: bool = False,
) -> Iterator[AttackContext]:  # fmt: skip
    """Check the input and hold the model in evaluation mode while an attack runs.

    In training mode dropout and batch statistics would make a result depend on chance and on the
    other images; every submodule's own mode is restored afterwards. The context's images are a
    copy, so that no model can change the caller's.
    """
    if not callable(model):
        raise TypeError(f"model must be callable, images to logits, got {model!r}")
    images = clipped_images(images, bounds)
    check_labels(labels, len(images))
    if targets is not None:
        check_labels(targets, len(images), "targets")
    with eval_mode(model), torch.inference_mode(False):
        dtype, wanted = images.dtype, None if targets is None else _ordinary(targets)
        working = torch.promote_types(dtype, torch.float32)
        copied = images.detach().to(working, copy=True)
        shown = model if dtype == working else _InDtype(model, dtype)
        yield AttackContext(
            shown,
            copied,
            _ordinary(labels),
            wanted,
            bounds,
            _budget(epsilon, copied),
            dtype,
            decisions,
        )


def _ordinary(tensor: Tensor) -> Tensor:
    # Autograd refuses tensors made in inference mode, as predictions often are; not their clones.
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def _budget(epsilon: float | Tensor | None, images: Tensor) -> float | Tensor | None:
    """A number as a float, and budgets (N,) as (N, 1, 1, 1), never rounded up."""
    if epsilon is None:
        return None
    if not isinstance(epsilon, Tensor) or epsilon.ndim == 0:
        return float(epsilon)
    if epsilon.shape != (len(images),):
        raise ValueError(f"epsilon must have shape ({len(images)},), got {tuple(epsilon.shape)}")
    exact = epsilon.detach().to(images.device, torch.float64)
    rounded = exact.to(images.dtype)
    down = torch.nextafter(rounded, torch.zeros_like(rounded))
    return torch.where(rounded > exact, down, rounded).view(-1, 1, 1, 1)


def check_start(start: Tensor, images: Tensor, bounds: Bounds) -> None:
    """Raise unless start is a batch of valid images of the shape of `images`."""
    if not isinstance(start, Tensor) or start.shape != images.shape:
        got = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise ValueError(f"start must have shape {tuple(images.shape)}, got {got}")
    check_images(start, bounds, "start")


def rows_per_pass(images: Tensor, batch_size: int | None, most: int) -> int:
    """How many images one forward pass takes: batch_size, or `most` and less of large ones."""
    if batch_size is not None:
        return batch_size
    return max(1, min(most, VALUES_PER_PASS // images[0].numel()))


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
