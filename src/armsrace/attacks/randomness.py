"""Random numbers that belong to an image, not to its place in a batch.

Each call draws one seed from the generator; the numbers of an image then follow from that seed and
the image's own pixels by a counter-based hash (splitmix64, Steele et al. 2014). So a result does
not depend on which images share the batch, nor on how a data set is cut into batches, nor on the
device. Equal images get equal numbers within a call, and new ones in the next.
"""

from __future__ import annotations

import torch
from torch import Tensor


def default_generator(generator: torch.Generator | None) -> torch.Generator:
    """The generator given, or a new one seeded 0: an attack without one is still repeatable."""
    return generator if generator is not None else torch.Generator().manual_seed(0)


def uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers (N, C, H, W) uniform on [0, 1), of the images' dtype and device."""
    # Rounding to a shorter dtype may reach 1, and log(1 - 1) is no number.
    below_one = 1 - torch.finfo(images.dtype).eps / 2
    return _uniform(images, generator).to(images.dtype).clamp_max(below_one)


def signs(images: Tensor, generator: torch.Generator) -> Tensor:
    """−1 or +1 with equal chance, (N, C, H, W)."""
    return torch.where(_uniform(images, generator) < 0.5, -1.0, 1.0).to(images.dtype)


def normal(images: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers (N, C, H, W), by Box and Muller."""
    radius = (-2 * (1 - _uniform(images, generator)).log()).sqrt()
    angle = 2 * torch.pi * _uniform(images, generator)
    return (radius * angle.cos()).to(images.dtype)


def _uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    seed = torch.randint(2**62, (), generator=generator, device=generator.device).to(images.device)
    pixels = images.detach().flatten(1)
    counters = torch.arange(pixels.shape[1], device=images.device)
    # Adding zero turns −0.0 into 0.0: equal images must have equal bits.
    words = (pixels.double() + 0.0).view(torch.int64)
    keys = _mix(words ^ _mix(counters)).sum(dim=1, keepdim=True)
    bits = _mix(_mix(keys ^ seed) + counters)
    # float64 holds 53 bits: the topmost of the 64, with the sign bit masked away.
    return (((bits >> 11) & (2**53 - 1)).double() / 2**53).view_as(images)


def _mix(values: Tensor) -> Tensor:
    values = values + _signed(0x9E3779B97F4A7C15)
    values = (values ^ _shift(values, 30)) * _signed(0xBF58476D1CE4E5B9)
    values = (values ^ _shift(values, 27)) * _signed(0x94D049BB133111EB)
    return values ^ _shift(values, 31)


def _shift(values: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes it logical.
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
