"""Gradient descent on latents: many images and many restarts of each, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from armsrace.attacks.randomness import Keys, default_generator
from armsrace.contracts import check_at_least, check_count

Decoder = Callable[[Tensor], Tensor]
"""Latents (M, L) -> images (M, C, H, W), row by row."""


@dataclass(frozen=True)
class LatentSearch:
    """How to look for the latents of an image.

    latents: L, the length of a latent vector.
    restarts: R, descents an image, each from a start of its own.
    steps: gradient steps of a descent.
    optimizer: called with the list of the latents; any of torch's that treats each number by
        itself, as SGD, Adam and RMSprop do and LBFGS does not. Where the search is to be
        differentiated, it is called with differentiable=True as well.
    schedule: called with the optimizer, for a schedule of torch that is stepped once a step.
    spread: the standard deviation of the starts, which are normal around 0.
    penalty: latents (M, L) to (M,), added to the mean squared error to make the objective.
    projection: latents (M, L) to those allowed, applied to the starts and after each step.
    halving: drop the worse half of an image's restarts, by the best that each has met, after …, an
        eighth, a quarter and a half of the steps, so that one is left for the last half
        (successive halving, Jamieson and Talwalkar 2016, Figure 1).
    tolerance: an image is done once one of its restarts has an objective of at most this.
    precision: the dtype, such as torch.bfloat16, in which the decoder works while it descends, by
        autocast. What decides between restarts, and what is returned, is computed without it.

    The default optimizer is Defense-GAN's; its rate belongs to the mean squared error a pixel.
    Raises ValueError or TypeError naming the argument and the rule it breaks.
    """

    latents: int
    restarts: int = 10
    steps: int = 200
    optimizer: Callable[..., Optimizer] = partial(SGD, lr=10.0, momentum=0.7)
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    spread: float = 1.0
    penalty: Callable[[Tensor], Tensor] | None = None
    projection: Callable[[Tensor], Tensor] | None = None
    halving: bool = True
    tolerance: float | None = None
    precision: torch.dtype | None = None

    def __post_init__(self) -> None:
        for name in ("latents", "restarts", "steps"):
            check_count(name, getattr(self, name))
        check_at_least("spread", self.spread, 0)
        if self.tolerance is not None:
            check_at_least("tolerance", self.tolerance, 0)

    def survivors(self) -> dict[int, int]:
        """How many restarts an image keeps, by the step after which the others are dropped."""
        counts, restarts = [], self.restarts
        while self.halving and restarts > 1:
            restarts = -(-restarts // 2)
            counts.append(restarts)
        rounds = len(counts)
        return {-(-self.steps // 2 ** (rounds - i)): kept for i, kept in enumerate(counts)}

    def starts(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Normal starts (N, R, L) for images (N, C, H, W), by their pixels and the generator."""
        keys, generator = Keys(images), default_generator(generator)
        # One draw a restart: the first of many are those of few.
        drawn = [keys.normal((self.latents,), generator) for _ in range(self.restarts)]
        return self.spread * torch.stack(drawn, dim=1)

    def check_starts(self, starts: Tensor, images: Tensor) -> None:
        """Raise unless starts are finite (N, R, L) of the images' dtype."""
        wanted = (len(images), self.restarts, self.latents)
        if starts.shape != wanted:
            raise ValueError(f"starts must have shape {wanted}, got {tuple(starts.shape)}")
        if starts.dtype != images.dtype:
            raise TypeError(f"starts must be {images.dtype} as the images, got {starts.dtype}")
        if not starts.isfinite().all():
            raise ValueError("starts must be finite, got NaN or infinity")
