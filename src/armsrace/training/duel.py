"""A generator and the critic that it is trained against, as one module for the one training loop.

One optimizer moves both. A step in which only one of them is to move leaves the other without a
gradient, and Adam skips what has none.
"""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from armsrace.models.gan import Generator

POINTS = 256


class Duel(nn.Module):
    """A generator and its critic in training; `network` is what is kept of them.

    network: on entry an untrained Generator, at the end the running mean of its weights, in which
        each step leaves `averaging` of what came before (0: no mean), always one step behind.
    Raises TypeError where the network is no Generator, ValueError where averaging is not in [0, 1).
    """

    def __init__(self, network: nn.Module, critic: nn.Module, averaging: float = 0.0) -> None:
        super().__init__()
        if not isinstance(network, Generator):
            raise TypeError(f"network must be a Generator, got {type(network).__name__}")
        if not 0 <= averaging < 1:
            raise ValueError(f"averaging must be in [0, 1), got {averaging:g}")
        self.critic, self.generator, self.averaging = critic, deepcopy(network), averaging
        self.network = network.requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("gaps", torch.zeros(POINTS, 2))

    def curve(self) -> list[float]:
        """The mean score of images less that of fakes, in equal parts of training, 128 to 256.

        Of a Wasserstein critic, its estimate of the distance between the two.
        """
        total, count = cast(Tensor, self.gaps).unbind(dim=1)
        return [round(value, 4) for value in (total / count)[count > 0].tolist()]

    def begin(self) -> int:
        """Take what the last step left into the running mean; return this step's number, from 0."""
        steps = cast(Tensor, self.steps)
        number = int(steps)
        steps += 1
        # A fixed weight would keep the untrained network in a mean of few steps.
        kept = min(self.averaging, (1 + number) / (10 + number))
        with torch.no_grad():
            pairs = zip(self.network.parameters(), self.generator.parameters(), strict=True)
            for mean, weights in pairs:
                mean.lerp_(weights, 1 - kept)
        full, rest = divmod(number, POINTS)
        if full and not rest and full.bit_count() == 1:
            # Pairs become one, so that the curve does not depend on how long training goes on.
            gaps = cast(Tensor, self.gaps)
            gaps[: POINTS // 2], gaps[POINTS // 2 :] = gaps.view(-1, 2, 2).sum(dim=1), 0
        return number

    def fakes(self, count: int) -> Tensor:
        """Images (count, 1, 28, 28) of latents drawn from N(0, I) by torch's global generator."""
        latents = torch.randn(count, self.generator.latents)
        return cast(Tensor, self.generator(latents.to(next(self.parameters()).device))).float()

    def scores(self, images: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's scores (N,) of images and of as many fakes; what parts them is noted."""
        real, fake = self.critic(torch.cat([images, fakes])).float().flatten().chunk(2)
        gap = (real.mean() - fake.mean()).detach()
        number = int(cast(Tensor, self.steps)) - 1
        place = number >> (number // POINTS).bit_length()
        cast(Tensor, self.gaps)[place] += torch.stack([gap, torch.ones_like(gap)])
        return real, fake


def dueling(model: nn.Module) -> Duel:
    """The model, which must be a `Duel`; raises TypeError where it is none."""
    if not isinstance(model, Duel):
        raise TypeError(f"model must be a Duel, got {type(model).__name__}")
    return model
