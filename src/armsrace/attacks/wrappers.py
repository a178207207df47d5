"""The modules behind `composition`: the values of what they wrap, with another gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import Function

from armsrace.contracts import Model

Purifier = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> cleaner ones, of the same shape, dtype and device."""


class DifferentiablePurifier(Protocol):
    """A purifier whose inner steps can stay on the graph, e.g. by `create_graph=True`."""

    def __call__(self, images: Tensor, *, differentiable: bool = False) -> Tensor:
        """The same values either way; with differentiable=True they depend on the images."""


class StraightThrough(nn.Module):
    """What `straight_through` gives."""

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
        return _Graft.apply(carrier, purified)


class _Graft(Function):
    """The values of one tensor with the gradient of another; a sum of both would round."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Expectation(nn.Module):
    """What `expectation` gives."""

    def __init__(self, model: Model, samples: int, average: str, one_pass: bool) -> None:
        super().__init__()
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


class Unrolled(nn.Module):
    """What `unrolled` gives."""

    def __init__(self, purifier: DifferentiablePurifier) -> None:
        super().__init__()
        self.purifier = purifier

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to the purifier's own values."""
        purified = self.purifier(images, differentiable=True)
        if torch.is_grad_enabled() and images.requires_grad and not purified.requires_grad:
            raise ValueError("purifier must stay differentiable in its images, got a constant")
        return purified
