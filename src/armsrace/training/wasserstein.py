"""Training a generator against a critic: the objectives of WGAN-GP, for the one training loop.

Both networks are one module with one optimizer. A step in which only one of them is to move leaves
the other without a gradient, and Adam skips what has none.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from armsrace.contracts import check_at_least, check_count
from armsrace.models.gan import Generator
from armsrace.training.recipe import Objective

Schedule = Callable[[float], Objective]
"""The objective at a place in training, 0 to 1."""

POINTS = 200
PENALTY = 10.0


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
        self.register_buffer("estimates", torch.zeros(POINTS, 2))

    def curve(self) -> list[float]:
        """The critic's estimate of the distance to the data, mean of each 200th of training."""
        total, count = cast(Tensor, self.estimates).unbind(dim=1)
        return [round(value, 4) for value in (total / count)[count > 0].tolist()]

    def average(self) -> None:
        """Take the generator's weights, as the last step left them, into the running mean."""
        steps = cast(Tensor, self.steps)
        # A fixed weight would keep the untrained network in a mean of few steps.
        kept = min(self.averaging, (1 + int(steps)) / (10 + int(steps)))
        steps += 1
        with torch.no_grad():
            pairs = zip(self.network.parameters(), self.generator.parameters(), strict=True)
            for mean, weights in pairs:
                mean.lerp_(weights, 1 - kept)

    def fakes(self, count: int) -> Tensor:
        """Images (count, 1, 28, 28) of latents drawn from N(0, I) by torch's global generator."""
        latents = torch.randn(count, self.generator.latents)
        return cast(Tensor, self.generator(latents.to(next(self.parameters()).device))).float()

    def critic_loss(self, images: Tensor, fakes: Tensor, progress: float, penalty: float) -> Tensor:
        """What the critic lowers: minus its estimate of the distance, plus the gradient penalty."""
        real, fake = self.critic(torch.cat([images, fakes])).float().chunk(2)
        estimate = real.mean() - fake.mean()
        noted = torch.stack([estimate.detach(), torch.ones_like(estimate)])
        cast(Tensor, self.estimates)[int(progress * POINTS)] += noted
        return penalty * gradient_penalty(self.critic, images, fakes.detach()) - estimate


def gradient_penalty(critic: nn.Module, images: Tensor, fakes: Tensor) -> Tensor:
    """Mean squared excess over 1 of the critic's slope, at a random point between each pair.

    images, fakes: (N, C, H, W). Gulrajani et al. 2017, eq. 3, without its factor. Draws from
    torch's global generator, as an objective may.
    """
    share = torch.rand(len(images), 1, 1, 1).to(images)
    between = torch.lerp(images, fakes, share).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    return (slopes.flatten(1).norm(dim=1) - 1).square().mean()


def together(penalty: float = PENALTY) -> Schedule:
    """Both networks move at every step, on the same fakes: one pass through the critic serves both.

    Ours, where the paper takes five steps of the critic for one of the generator: on a CPU more
    steps of the generator are worth more. Raises ValueError where the penalty is negative.
    """
    check_at_least("penalty", penalty, 0)

    def at(progress: float) -> Objective:
        def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            duel = _duel(model)
            duel.average()
            fakes = duel.fakes(len(images))
            # The same images, the opposite gradient: the generator raises what the critic lowers.
            return duel.critic_loss(images, 2 * fakes.detach() - fakes, progress, penalty)

        return objective

    return at


def in_turns(critic_steps: int = 5, penalty: float = PENALTY) -> Schedule:
    """`critic_steps` steps of the critic, then one of the generator, over and over.

    Gulrajani et al. 2017, algorithm 1. Raises ValueError where critic_steps is below 1 or the
    penalty is negative.
    """
    check_count("critic_steps", critic_steps)
    check_at_least("penalty", penalty, 0)

    def at(progress: float) -> Objective:
        def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            duel = _duel(model)
            duel.average()
            if int(cast(Tensor, duel.steps)) % (critic_steps + 1):
                with torch.no_grad():
                    fakes = duel.fakes(len(images))
                return duel.critic_loss(images, fakes, progress, penalty)
            frozen = {name: value.detach() for name, value in duel.critic.named_parameters()}
            scores = functional_call(duel.critic, frozen, duel.fakes(len(images)))
            return -cast(Tensor, scores).float().mean()

        return objective

    return at


def _duel(model: nn.Module) -> Duel:
    if not isinstance(model, Duel):
        raise TypeError(f"model must be a Duel, got {type(model).__name__}")
    return model
