"""Callables to attack a defended model through: the attack itself stays an ordinary one.

Each wrapper is a module from images to what it wraps, with another gradient: so that
`nn.Sequential(straight_through(purifier), classifier)` is a model for any attack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import Function

from armsrace.attacks.smoothed import SmoothedGradient, smoothed_gradient
from armsrace.contracts import Model, check_choice, check_count

__all__ = ["SmoothedGradient", "expectation", "smoothed_gradient", "straight_through", "unrolled"]

Purifier = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> cleaner ones, of the same shape, dtype and device."""


class DifferentiablePurifier(Protocol):
    """A purifier whose inner steps can stay on the graph, e.g. by `create_graph=True`."""

    def __call__(self, images: Tensor, *, differentiable: bool = False) -> Tensor:
        """The same values either way; with differentiable=True they depend on the images."""


def straight_through(purifier: Purifier, *, backward: Purifier | None = None) -> nn.Module:
    """A purifier whose gradient is taken to be that of the identity, or of a stand-in (BPDA).

    Args:
        purifier: images (N, C, H, W) to images of the same shape and dtype. It need not be
            differentiable, and runs without a graph.
        backward: a differentiable stand-in g(x) ≈ purifier(x), whose gradient at x is used in
            place of the identity's.

    Gives: a module with exactly the purifier's values. Raises ValueError where these have another
    shape or dtype than the stand-in's. Source: Athalye, Carlini and Wagner 2018, §4.1.
    """
    return _StraightThrough(purifier, backward)


def expectation(
    model: Model,
    samples: int,
    *,
    average: Literal["probabilities", "logits"] = "probabilities",
    one_pass: bool = False,
) -> nn.Module:
    """The mean answer of a randomised model, and so the mean gradient (EOT).

    Args:
        model: images (N, C, H, W) to logits (N, K), drawing anew at each call from a generator of
            its own: seed that generator to repeat a run.
        samples: evaluations averaged; each query of the mean costs as many queries of the model.
        average: "probabilities" gives the logarithm of the mean probabilities, the confidences of
            the randomised model; "logits" the mean of the logits.
        one_pass: send the `samples` copies as one batch. Quicker, and only right for a model that
            draws for each image of a batch, whatever its pixels.

    Gives: a module from images to logits (N, K). Raises ValueError or TypeError naming the
    argument and the rule it breaks. Source: Athalye et al. 2018, "Synthesizing Robust Adversarial
    Examples", §2.1. The paper averages the loss, log p(y): an attack that is handed one row of
    logits an image cannot. The mean of the logits comes nearest; the mean of the probabilities
    lets evaluations that are fooled already weigh less.
    """
    check_count("samples", samples)
    check_choice("average", average, ("probabilities", "logits"))
    return _Expectation(model, samples, average, one_pass)


def unrolled(purifier: DifferentiablePurifier) -> nn.Module:
    """A purifier with its true gradient, through every step of its own optimisation.

    Args:
        purifier: called as purifier(images, differentiable=True), images (N, C, H, W); it must
            then keep its inner gradient steps on the graph, from the images to what it returns.

    Gives: a module from images to images. Raises ValueError where what comes back does not depend
    differentiably on the images. Memory grows with the number of steps, and through many of them
    the gradient may vanish (Athalye et al. 2018, §3): print its norm before any accuracy.
    """
    return _Unrolled(purifier)


class _StraightThrough(nn.Module):
    def __init__(self, purifier: Purifier, backward: Purifier | None) -> None:
        super().__init__()
        self.purifier, self.stand_in = purifier, backward

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            purified = self.purifier(images.detach())
        carrier = images if self.stand_in is None else self.stand_in(images)
        if (purified.shape, purified.dtype) != (carrier.shape, carrier.dtype):
            raise ValueError(
                f"purifier must return {carrier.dtype} of shape {tuple(carrier.shape)}, "
                f"got {purified.dtype} of shape {tuple(purified.shape)}"
            )
        return _Graft.apply(carrier, purified)


class _Graft(Function):
    """The values of one tensor with the gradient of another; a sum of both would round."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Expectation(nn.Module):
    def __init__(self, model: Model, samples: int, average: str, one_pass: bool) -> None:
        super().__init__()
        self.model, self.samples, self.average, self.one_pass = model, samples, average, one_pass

    def forward(self, images: Tensor) -> Tensor:
        if self.one_pass:
            copies = images.repeat_interleave(self.samples, dim=0)
            logits = self.model(copies).unflatten(0, (-1, self.samples))
        else:
            logits = torch.stack([self.model(images) for _ in range(self.samples)], dim=1)
        if self.average == "logits":
            return logits.mean(dim=1)
        return logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(self.samples)


class _Unrolled(nn.Module):
    def __init__(self, purifier: DifferentiablePurifier) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, images: Tensor) -> Tensor:
        purified = self.purifier(images, differentiable=True)
        if torch.is_grad_enabled() and images.requires_grad and not purified.requires_grad:
            raise ValueError("purifier must stay differentiable in its images, got a constant")
        return purified
