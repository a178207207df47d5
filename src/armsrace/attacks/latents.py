"""Descent on a decoder's latents, one row an image or a pair, each by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.progress import PerImage
from armsrace.contracts import Bounds

Decoder = Callable[[Tensor], Tensor]
"""Latents (M, L) -> images (M, C, H, W), row by row."""

FIRST, SECOND, TINY = 0.9, 0.999, 1e-8


class LatentAdam(PerImage):
    """Latents (N, …) under descent, a row with its own moments; all rows began together.

    Kingma and Ba 2015, Algorithm 1. The rate falls linearly to zero over `steps`: at a constant
    one Adam circles an optimum without end.
    """

    def __init__(self, latents: Tensor, step_size: float, steps: int) -> None:
        self._step_size, self._steps, self._count = step_size, steps, 0
        self.latents = latents.detach().clone()
        self._mean, self._square = torch.zeros_like(latents), torch.zeros_like(latents)

    @torch.no_grad()
    def step(self, slopes: Tensor) -> None:
        """One step down, given the gradient (n, …) of the objective in the latents."""
        size = self._step_size * (1 - self._count / self._steps)
        self._count += 1
        self._mean.lerp_(slopes, 1 - FIRST)
        self._square.mul_(SECOND).addcmul_(slopes, slopes, value=1 - SECOND)
        mean = self._mean / (1 - FIRST**self._count)
        square = self._square / (1 - SECOND**self._count)
        self.latents -= size * mean / (square.sqrt() + TINY)


def drawn(decoder: Decoder, latents: Tensor, bounds: Bounds) -> Tensor:
    """The images (M, C, H, W) of latents (M, L), clipped to the box; their shape is checked.

    Raises ValueError too where latents are to be differentiated and the images hang on no graph.
    """
    images = decoder(latents)
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) != len(latents):
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"decoder must return shape ({len(latents)}, C, H, W), got {got}")
    if torch.is_grad_enabled() and latents.requires_grad and not images.requires_grad:
        raise ValueError("decoder must be differentiable in its latents, got a constant")
    return bounds.clip(images)


def check_latents(name: str, latents: Tensor, shape: str, dimensions: int) -> None:
    """Raise unless latents are a non-empty finite floating tensor of so many dimensions."""
    if not isinstance(latents, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(latents).__name__}")
    if latents.ndim != dimensions or latents.numel() == 0:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(latents.shape)}")
    if not latents.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {latents.dtype}")
    if not latents.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
