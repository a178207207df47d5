"""Random numbers that belong to an image, not to its place in a batch.

Each call draws one seed from the generator. The numbers of an image follow from this seed and from
the pixels of the image, by a counter-based hash (splitmix64, Steele et al. 2014). So a result does
not depend on the other images in the batch, on how a data set is cut into batches, or on the
device: a generator of any device draws on its own device, and the draw is moved. Equal images get
equal numbers within a call, and new ones in the next call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def default_generator(generator: torch.Generator | None) -> torch.Generator:
    """The generator given, or a new one seeded 0, so that an attack without one is repeatable."""
    if generator is None:
        return torch.Generator().manual_seed(0)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator or None, got {generator!r}")
    return generator


def uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers (N, C, H, W) uniform on [0, 1), of the images' dtype and device."""
    return Keys(images).uniform(images.shape[1:], generator).to(images.dtype)


def signs(images: Tensor, generator: torch.Generator) -> Tensor:
    """−1 or +1 with equal probability (N, C, H, W)."""
    return torch.where(uniform(images, generator) < 0.5, -1.0, 1.0).to(images.dtype)


def normal(images: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers (N, C, H, W)."""
    return Keys(images).normal(images.shape[1:], generator)


class Keys:
    """One key per image, hashed once, for attacks that draw random numbers at every step.

    Each call draws one seed from the generator, however many images there are. So an attack that
    drops finished images from its batch must call exactly once per step for the active ones.
    """

    def __init__(self, images: Tensor) -> None:
        pixels = images.detach().flatten(1)
        counters = torch.arange(pixels.shape[1], device=images.device)
        # Adding zero turns −0.0 into 0.0: equal images must have equal bits.
        words = (pixels.double() + 0.0).view(torch.int64)
        self._hashes = _mix(words ^ _mix(counters)).sum(dim=1, keepdim=True)
        self._dtype = images.dtype

    def __getitem__(self, kept: Tensor) -> Keys:
        """The keys of the images chosen by a bool mask or indices (M,)."""
        chosen = object.__new__(Keys)
        chosen._hashes, chosen._dtype = self._hashes[kept], self._dtype
        return chosen

    def uniform(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Numbers (N, *shape) uniform on [0, 1), of the images' dtype and device."""
        return self._uniform(self._bits(shape, generator))

    def uniform_calls(self, count: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """What `count` calls of `uniform` would give one by one, in one tensor (N, count, *shape).

        For searches whose single step needs few numbers: drawing them would take longer than the
        step.
        """
        seeds = [
            torch.randint(2**62, (), generator=generator, device=generator.device)
            for _ in range(count)
        ]
        starts = _mix(self._hashes ^ torch.stack(seeds).to(self._hashes.device))[:, :, None]
        bits = _mix(starts + torch.arange(math.prod(shape), device=self._hashes.device))
        return self._uniform(bits).view(-1, count, *shape)

    def _uniform(self, bits: Tensor) -> Tensor:
        """Random words of 64 bits as numbers uniform on [0, 1)."""
        # float64 holds 53 bits: we take the top 53 of 64 and mask the sign bit away.
        numbers = ((bits >> 11) & (2**53 - 1)).double() / 2**53
        # Rounding to a shorter dtype may give 1, and log(1 − 1) is not finite.
        return numbers.to(self._dtype).clamp_max(1 - torch.finfo(self._dtype).eps / 2)

    def normal(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Standard normal numbers (N, *shape), of the images' dtype and device.

        By Box and Muller: the two halves of one 64-bit word give two numbers. Their tails end at
        6.7 standard deviations.
        """
        count = math.prod(shape)
        bits = self._bits(((count + 1) // 2,), generator)
        # Half precision cannot hold 32 bits.
        wide = torch.promote_types(self._dtype, torch.float32)
        high, low = ((bits >> shift & (2**32 - 1)).to(wide) for shift in (32, 0))
        radius, angle = (-2 * ((high + 0.5) / 2**32).log()).sqrt(), low * (2 * torch.pi / 2**32)
        both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
        return both[:, :count].to(self._dtype).view(-1, *shape)

    def _bits(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Random words (N, *shape) of 64 bits."""
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        counters = torch.arange(math.prod(shape), device=self._hashes.device)
        bits = _mix(_mix(self._hashes ^ seed.to(self._hashes.device)) + counters)
        return bits.view(-1, *shape)


def _mix(values: Tensor) -> Tensor:
    """The output function of splitmix64, of int64 values."""
    # In place on one copy, since most of the time goes into memory traffic.
    values = values + _signed(0x9E3779B97F4A7C15)
    values.bitwise_xor_(_shift(values, 30)).mul_(_signed(0xBF58476D1CE4E5B9))
    values.bitwise_xor_(_shift(values, 27)).mul_(_signed(0x94D049BB133111EB))
    return values.bitwise_xor_(_shift(values, 31))


def _shift(values: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; that of torch is arithmetic for int64."""
    return (values >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned word."""
    return word - 2**64 if word >= 2**63 else word
