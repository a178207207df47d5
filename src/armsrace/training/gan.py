"""Adversarial training of a generator: its critic, and two losses, WGAN-GP and logistic with R1.

Goodfellow et al. 2014; Gulrajani et al. 2017 (WGAN-GP, which Defense-GAN uses); Mescheder et al.
2018 (R1). Generator and critic are one module for the one training loop, and one optimizer moves
both: in a step in which only one of them is to move the other has no gradient, and Adam skips what
has none.
"""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from armsrace.contracts import check_at_least, check_count
from armsrace.models.gan import Generator
from armsrace.training.recipe import Objective

POINTS = 256


class GANTrainer(nn.Module):
    """A generator and its critic in training; `network` is what is kept of them.

    Args:
        network: an untrained Generator, at the end the running mean of its weights.
        critic: images to scores.
        averaging: the fraction of the mean that each step keeps, in [0, 1); 0 is no mean. The mean
            is always one step behind.
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

    def begin(self) -> int:
        """Take the last step's weights into the running mean; return this step's number, from 0."""
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
            # Pairs become one, so that the curve does not depend on how long training lasts.
            gaps = cast(Tensor, self.gaps)
            gaps[: POINTS // 2], gaps[POINTS // 2 :] = gaps.view(-1, 2, 2).sum(dim=1), 0
        return number

    def fakes(self, count: int) -> Tensor:
        """Images (count, 1, 28, 28) of latents drawn from N(0, I) by torch's global generator."""
        latents = torch.randn(count, self.generator.latents)
        return cast(Tensor, self.generator(latents.to(next(self.parameters()).device))).float()

    def scores(self, images: Tensor, fakes: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's scores (N,) of images and of as many fakes; their difference is recorded."""
        real, fake = self.critic(torch.cat([images, fakes])).float().flatten().chunk(2)
        gap = (real.mean() - fake.mean()).detach()
        number = int(cast(Tensor, self.steps)) - 1
        place = number >> (number // POINTS).bit_length()
        cast(Tensor, self.gaps)[place] += torch.stack([gap, torch.ones_like(gap)])
        return real, fake

    def curve(self) -> list[float]:
        """The mean score of images minus that of fakes, in 128 to 256 equal parts of training.

        For a Wasserstein critic, its estimate of the distance between the two.
        """
        total, count = cast(Tensor, self.gaps).unbind(dim=1)
        return [round(value, 4) for value in (total / count)[count > 0].tolist()]


def wgan_gp(critic_steps: int = 5, penalty: float = 10.0) -> Objective:
    """WGAN-GP: `critic_steps` steps of the critic D, then one of the generator G, and again.

    The critic lowers D(fake) − D(real) + λ · penalty, the generator −D(fake).

    Args:
        critic_steps: at least 1.
        penalty: λ, the factor of `gradient_penalty`.

    References:
        Gulrajani et al. 2017, "Improved training of Wasserstein GANs", algorithm 1.
    """
    check_count("critic_steps", critic_steps)
    check_at_least("penalty", penalty, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        gan = _checked(model)
        if gan.begin() % (critic_steps + 1) < critic_steps:
            with torch.no_grad():
                fakes = gan.fakes(len(images))
            real, fake = gan.scores(images, fakes)
            excess = gradient_penalty(gan.critic, images, fakes)
            return fake.mean() - real.mean() + penalty * excess
        frozen = {name: value.detach() for name, value in gan.critic.named_parameters()}
        scores = functional_call(gan.critic, frozen, gan.fakes(len(images)))
        return -cast(Tensor, scores).float().mean()

    return objective


def gradient_penalty(critic: nn.Module, images: Tensor, fakes: Tensor) -> Tensor:
    """The mean of (‖∇D(x̂)‖₂ − 1)², x̂ a random point between an image and a fake.

    images, fakes: (N, C, H, W). Gulrajani et al. 2017, eq. 3, without its factor. Draws from
    torch's global generator, as an objective may.
    """
    fraction = torch.rand(len(images), 1, 1, 1).to(images)
    between = torch.lerp(images, fakes, fraction).requires_grad_()
    (grad,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    return (grad.flatten(1).norm(dim=1) - 1).square().mean()


def r1_loss(penalty: float = 0.3, every: int = 4) -> Objective:
    """The logistic GAN with R1: both networks move at every step, on the same fakes.

    The critic D lowers softplus(D(fake)) + softplus(−D(real)), the generator softplus(−D(fake)),
    the version that does not saturate. One pass through the critic serves both.

    Args:
        penalty: the factor of `r1_penalty`. On digits 10 ends badly: the scores shrink below what
            the optimizer's steps disturb, the critic becomes flat and the fakes decay.
        every: the penalty is `every` times as large, but only in each so many steps ("lazy
            regularization").

    References:
        Goodfellow et al. 2014, §3; Mescheder et al. 2018, eq. 9; Karras et al. 2020 (lazy
        regularization).
    """
    check_at_least("penalty", penalty, 0)
    check_count("every", every)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        gan = _checked(model)
        number = gan.begin()
        fakes = gan.fakes(len(images))
        real, fake = gan.scores(images, fakes)

        def generator_grad(critic_grad: Tensor) -> Tensor:
            # The critic's loss has the derivative sigmoid(D), the generator's −sigmoid(−D).
            return -critic_grad * (-fake.detach()).exp().view(-1, 1, 1, 1)

        fakes.register_hook(generator_grad)
        loss = softplus(fake).mean() + softplus(-real).mean()
        if number % every == 0:
            loss = loss + penalty * every * r1_penalty(gan.critic, images)
        return loss

    return objective


def r1_penalty(critic: nn.Module, images: Tensor) -> Tensor:
    """Half the mean of ‖∇D(x)‖₂² at images x (N, C, H, W): R1 (Mescheder et al. 2018, eq. 9)."""
    images = images.detach().requires_grad_()
    (grad,) = torch.autograd.grad(critic(images).float().sum(), images, create_graph=True)
    return grad.flatten(1).square().sum(dim=1).mean() / 2


def _checked(model: nn.Module) -> GANTrainer:
    """The model, which must be a `GANTrainer`."""
    if not isinstance(model, GANTrainer):
        raise TypeError(f"model must be a GANTrainer, got {type(model).__name__}")
    return model
