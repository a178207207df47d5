"""What attacks on generative models share: decoding, explanations, Adam, checks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.base import PerImageAdam
from armsrace.contracts import Bounds, Decoder


class LatentAdam(PerImageAdam):
    """Adam on latents (M, …), its step size falling linearly to zero over `steps`.

    With a constant step size Adam circles around an optimum without end.
    """

    def __init__(self, latents: Tensor, step_size: float, steps: int) -> None:
        super().__init__(latents, step_size)
        self._steps = steps

    def step(self, grad: Tensor, step_size: Tensor | None = None) -> None:
        """One step down the gradient (M, …) in the latents."""
        falling = self.step_size * (1 - self.counts.to(grad.dtype) / self._steps)
        super().step(grad, falling if step_size is None else step_size)


def decode(decoder: Decoder, latents: Tensor, bounds: Bounds) -> Tensor:
    """The images (M, C, H, W) of latents (M, L), clipped to the box; their shape is checked.

    Also raises ValueError where latents require a gradient and the images do not depend on them.
    """
    images = decoder(latents)
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) != len(latents):
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"decoder must return shape ({len(latents)}, C, H, W), got {got}")
    if torch.is_grad_enabled() and latents.requires_grad and not images.requires_grad:
        raise ValueError("decoder must be differentiable in its latents, got a constant")
    return bounds.clip(images)


def check_latents(name: str, latents: Tensor, shape: str, dimensions: int) -> None:
    """Raise unless latents are a non-empty finite floating-point tensor of so many dimensions."""
    if not isinstance(latents, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(latents).__name__}")
    if latents.ndim != dimensions or latents.numel() == 0:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(latents.shape)}")
    if not latents.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {latents.dtype}")
    if not latents.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def explained(
    explain: Callable[[Tensor], Tensor], images: Tensor, logits: torch.Size, dtype: torch.dtype
) -> Tensor:
    """Each class's reconstruction (M, K, C, H, W) of images (M, C, H, W); logits is (M, K).

    Raises ValueError where explain returns another shape. It is called with the caller's dtype.
    """
    drawn = explain(images.to(dtype))
    wanted = (*logits, *images.shape[1:])
    if drawn.shape != wanted:
        raise ValueError(f"explain must return shape {wanted}, got {tuple(drawn.shape)}")
    return drawn.to(images.dtype)
