"""Gradient descent on latents: many images and many restarts of each, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
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
    halving: h ≥ 0. After a share t of the steps an image keeps R (1 − t)^h restarts, rounded up:
        those that have met the best. With 1 they halve whenever the steps left do, and do half the
        work; in general 1 / (1 + h) of it; 0 keeps all to the end. Successive halving (Jamieson
        and Talwalkar 2016, Figure 1) works equally in all rounds and so drops most in the first
        steps, where restarts that will win are still behind.
    tolerance: an image is done once one of its restarts has, in `precision`, an objective of at
        most this.
    precision: the dtype in which the decoder works while it descends, by autocast:
        `reduced_precision(device)` is bfloat16 where that is quicker. What decides between
        restarts, and what is returned, is computed without it.

    The default optimizer and spread are ours, for decoders of latents of unit variance, and come
    nearer in as many steps than Defense-GAN's: SGD with lr=10 and momentum=0.7, a tenth of the rate
    after 80 % of the steps, spread=128**-0.5. Starts near 0 seldom get stuck, and steps then buy
    more than restarts do. Raises ValueError or TypeError naming the argument and the rule it
    breaks.

    >>> defenses.LatentSearch(latents=20, restarts=4, steps=8).survivors()
    [4, 3, 3, 2, 2, 1, 1, 1]
    """

    latents: int
    restarts: int = 10
    steps: int = 200
    optimizer: Callable[..., Optimizer] = partial(Adam, lr=0.1, betas=(0.7, 0.9))
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    spread: float = 0.3
    penalty: Callable[[Tensor], Tensor] | None = None
    projection: Callable[[Tensor], Tensor] | None = None
    halving: float = 1.0
    tolerance: float | None = None
    precision: torch.dtype | None = None

    def __post_init__(self) -> None:
        for name in ("latents", "restarts", "steps"):
            check_count(name, getattr(self, name))
        for name in ("spread", "halving"):
            check_at_least(name, getattr(self, name), 0)
        if self.tolerance is not None:
            check_at_least("tolerance", self.tolerance, 0)

    def survivors(self) -> list[int]:
        """How many restarts an image keeps after each step."""
        left = (1 - step / self.steps for step in range(1, self.steps + 1))
        return [max(1, math.ceil(self.restarts * share**self.halving)) for share in left]

    def allowed(self, latents: Tensor) -> Tensor:
        """The projection of latents (n, r, L)."""
        if self.projection is None:
            return latents
        rows = latents.flatten(0, 1)
        moved = self.projection(rows)
        check_shape("projection", moved, rows.shape)
        return moved.view_as(latents)

    def optimizer_of(self, latents: Tensor, differentiable: bool) -> Optimizer:
        """A new optimizer of latents of any shape, whose steps stay on the graph if asked to."""
        if not differentiable:
            return self.optimizer([latents])
        optimizer = self.optimizer([latents], differentiable=True)
        if isinstance(optimizer, SGD) and optimizer.defaults["momentum"]:
            # torch's first momentum is the slope cut off from its graph, unless there is one.
            optimizer.state[latents]["momentum_buffer"] = torch.zeros_like(latents).detach()
        return optimizer

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


def check_shape(name: str, answer: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise unless what the callable of that name returned has the shape wanted."""
    if answer.shape != wanted:
        raise ValueError(f"{name} must return shape {tuple(wanted)}, got {tuple(answer.shape)}")
