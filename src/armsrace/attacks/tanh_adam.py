"""Adam on images written as tanh of a free variable: what the Carlini–Wagner attacks descend with.

Carlini and Wagner 2017, §V-B (the change of variable); Kingma and Ba 2015, Algorithm 1 (Adam).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.norms import column
from armsrace.attacks.progress import PerImage
from armsrace.contracts import Bounds

# The box ends at tanh(w) = ±0.99. At the authors' 0.999999 a pixel at exactly 0 or 1 creeps: it
# needs seven hundred steps of 0.01 to become visible. At 1 it never moves, for its w is infinite.
EDGE = 0.99
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8


class TanhAdam(PerImage):
    """Images (N, C, H, W) under descent, each with its own moments and its own count of steps.

    A pixel is middle + span / 2 · tanh(w) / 0.99, with tanh(w) held between −0.99 and 0.99: the
    ends of the box are reached, left again, and never crossed (the paper's footnote on 1/2 + ε).
    With `levels` the images are rounded to so many pixel values, and the gradient passes through
    the rounding.
    """

    def __init__(
        self, images: Tensor, bounds: Bounds, step_size: float, levels: int | None = None
    ) -> None:
        self._bounds, self._step_size, self._levels = bounds, step_size, levels
        self._middle = (bounds.lower + bounds.upper) / 2
        self._half = (bounds.upper - bounds.lower) / 2
        self._variable = self._encode(images)
        self._mean, self._square = torch.zeros_like(images), torch.zeros_like(images)
        self.counts = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def images(self) -> Tensor:
        """The images (N, C, H, W) where the descent now stands."""
        unit = self._variable.tanh() / (2 * EDGE) + 0.5
        if self._levels is not None:
            unit = (unit * (self._levels - 1)).round() / (self._levels - 1)
        return self._bounds.clip(self._bounds.lower + 2 * self._half * unit)

    def step(self, slopes: Tensor) -> None:
        """One step down, given the gradient (N, C, H, W) of the objective in the images."""
        slopes = slopes * (1 - self._variable.tanh().square()) * (self._half / EDGE)
        self.counts += 1
        self._mean.lerp_(slopes, 1 - FIRST)
        self._square.mul_(SECOND).addcmul_(slopes, slopes, value=1 - SECOND)
        counts = self.counts.to(slopes.dtype)
        size = self._step_size * (1 - SECOND**counts).sqrt() / (1 - FIRST**counts)
        self._variable -= column(size) * self._mean / (self._square.sqrt() + TINY)
        self._variable.clamp_(-math.atanh(EDGE), math.atanh(EDGE))

    def restart(self, which: Tensor, images: Tensor) -> None:
        """Begin anew, moments and count too, at images (M, C, H, W) for those in `which` (M,)."""
        self._variable[which] = self._encode(images)
        self._mean[which], self._square[which], self.counts[which] = 0, 0, 0

    def _encode(self, images: Tensor) -> Tensor:
        return ((images - self._middle) * (EDGE / self._half)).clamp(-EDGE, EDGE).atanh()
