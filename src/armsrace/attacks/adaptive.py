"""Adaptive attacks: give a defended model a useful gradient, then attack it with any attack.

Each function wraps a model or a purifier. The result has the same values and another gradient, so
that `nn.Sequential(bpda(purifier), classifier)` is a model for any attack. `bpda`, `eot` and
`unrolled` are for gradients that are zero, random or cut off; `estimated_gradient` is for models
that have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import Function

from armsrace.attacks.base import rejects
from armsrace.attacks.black_box.gradient_estimation import EstimatedGradient, estimated_gradient
from armsrace.contracts import Model, check_choice, check_count
from armsrace.deprecation import renamed

__all__ = ["EstimatedGradient", "bpda", "eot", "estimated_gradient", "unrolled"]

Purifier = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> cleaner ones, of the same shape, dtype and device."""


class DifferentiablePurifier(Protocol):
    """A purifier whose inner steps can stay on the graph, e.g. by `create_graph=True`."""

    def __call__(self, images: Tensor, *, differentiable: bool = False) -> Tensor:
        """The same values either way; with differentiable=True they depend on the images."""


def bpda(purifier: Purifier, *, backward: Purifier | None = None) -> nn.Module:
    """A purifier whose gradient is that of the identity, or of a stand-in (BPDA).

    Args:
        purifier: images (N, C, H, W) to images of the same shape and dtype. It need not be
            differentiable, and runs without a graph.
        backward: a differentiable stand-in g(x) ≈ purifier(x), whose gradient at x is used in
            place of the identity's.

    Returns:
        A module with exactly the purifier's values.

    Raises:
        ValueError: when called, where the purifier's values and the stand-in's differ in shape or
            dtype.

    Cost:
        Per forward pass one of the purifier, and one of the stand-in if there is one.

    References:
        Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false sense of security",
        §4.1.

    Example:
        >>> images = torch.tensor([[[[0.2, 0.7]]]], requires_grad=True)
        >>> attacks.bpda(torch.round)(images).sum().backward()
        >>> images.grad
        tensor([[[[1., 1.]]]])
    """
    return BPDA(purifier, backward)


class BPDA(nn.Module):
    """A purifier with another gradient, as from `bpda`."""

    def __init__(self, purifier: Purifier, backward: Purifier | None) -> None:
        super().__init__()
        self.purifier, self.stand_in = purifier, backward

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to the purifier's own values."""
        with torch.no_grad():
            purified = self.purifier(images.detach())
        carrier = images if self.stand_in is None else self.stand_in(images)
        if (purified.shape, purified.dtype) != (carrier.shape, carrier.dtype):
            raise ValueError(
                f"purifier must return {carrier.dtype} of shape {tuple(carrier.shape)}, "
                f"got {purified.dtype} of shape {tuple(purified.shape)}"
            )
        return _ValuesWithGradientOf.apply(carrier, purified)


class _ValuesWithGradientOf(Function):
    """The values of one tensor with the gradient of another; adding the two would round."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def eot(
    model: Model,
    samples: int,
    *,
    average: Literal["probabilities", "logits"] = "probabilities",
    one_pass: bool = False,
) -> nn.Module:
    """The mean prediction of a randomized model, and so its mean gradient (EOT).

    Args:
        model: images (N, C, H, W) to logits (N, K), drawing again at each call from a generator of
            its own: seed that generator to repeat a run.
        samples: evaluations averaged.
        average: "probabilities" gives the logarithm of the mean probabilities, the confidences of
            the randomized model; "logits" gives the mean of the logits.
        one_pass: send the `samples` copies as one batch. This is faster, but right only for a model
            that draws for each image of a batch, whatever its pixels.

    Returns:
        A module from images to logits (N, K).

    Differences from the paper:
        * The paper averages the loss, −log p(y). An attack that is given one row of logits per
          image cannot. The mean of the logits comes nearest; the mean of the probabilities gives
          less weight to evaluations that are already adversarial.

    Cost:
        `samples` passes of the model for each pass of the mean.

    References:
        Athalye, Engstrom, Ilyas and Kwok 2018, "Synthesizing robust adversarial examples", §2.1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> noisy = lambda images: model(images + 0.1 * torch.randn_like(images))
        >>> attacks.eot(noisy, samples=10)(digits.images).shape
        torch.Size([8, 10])
    """
    check_count("samples", samples)
    check_choice("average", average, ("probabilities", "logits"))
    return EOT(model, samples, average, one_pass)


class EOT(nn.Module):
    """The mean prediction of a randomized model, as from `eot`."""

    def __init__(self, model: Model, samples: int, average: str, one_pass: bool) -> None:
        super().__init__()
        self.last_class_rejects = rejects(model)
        self.model, self.samples, self.average, self.one_pass = model, samples, average, one_pass

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to mean logits (N, K)."""
        if self.one_pass:
            copies = images.repeat_interleave(self.samples, dim=0)
            logits = self.model(copies).unflatten(0, (-1, self.samples))
        else:
            logits = torch.stack([self.model(images) for _ in range(self.samples)], dim=1)
        if self.average == "logits":
            return logits.mean(dim=1)
        return logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(self.samples)


def unrolled(purifier: DifferentiablePurifier) -> nn.Module:
    """A purifier with its true gradient, through every step of its own optimization.

    Through many steps the gradient may vanish: print its norm before any accuracy.

    Args:
        purifier: called as purifier(images, differentiable=True), images (N, C, H, W); it must
            then keep its inner gradient steps on the graph, from the images to what it returns.

    Returns:
        A module from images to images.

    Raises:
        ValueError: when called, where what the purifier returns does not depend differentiably on
            the images.

    Cost:
        The memory of all steps of the purifier, and a backward pass through each.

    References:
        Athalye, Carlini and Wagner 2018, §3 (vanishing gradients).

    Example:
        >>> halved = lambda images, differentiable=False: images / 2
        >>> images = torch.ones(1, 1, 2, 2, requires_grad=True)
        >>> attacks.unrolled(halved)(images).sum().backward()
        >>> images.grad.unique()
        tensor([0.5000])
    """
    return Unrolled(purifier)


class Unrolled(nn.Module):
    """A purifier with its true gradient, as from `unrolled`."""

    def __init__(self, purifier: DifferentiablePurifier) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to the purifier's own values."""
        purified = self.purifier(images, differentiable=True)
        if torch.is_grad_enabled() and images.requires_grad and not purified.requires_grad:
            raise ValueError("purifier must stay differentiable in its images, got a constant")
        return purified


__getattr__ = renamed(
    __name__,
    {
        "SmoothedGradient": "armsrace.attacks.adaptive.EstimatedGradient",
        "expectation": "armsrace.attacks.adaptive.eot",
        "smoothed_gradient": "armsrace.attacks.adaptive.estimated_gradient",
        "straight_through": "armsrace.attacks.adaptive.bpda",
    },
)
