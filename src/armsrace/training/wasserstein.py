"""Training a generator as Defense-GAN's was: WGAN-GP (Gulrajani et al. 2017)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from armsrace.contracts import check_at_least, check_count
from armsrace.training.duel import dueling
from armsrace.training.recipe import Objective


def gradient_penalty(critic: nn.Module, images: Tensor, fakes: Tensor) -> Tensor:
    """Mean squared excess over 1 of the critic's slope, at a random point between each pair.

    images, fakes: (N, C, H, W). Gulrajani et al. 2017, eq. 3, without its factor. Draws from
    torch's global generator, as an objective may.
    """
    share = torch.rand(len(images), 1, 1, 1).to(images)
    between = torch.lerp(images, fakes, share).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    return (slopes.flatten(1).norm(dim=1) - 1).square().mean()


def in_turns(critic_steps: int = 5, penalty: float = 10.0) -> Objective:
    """`critic_steps` steps of the critic, then one of the generator, over and over.

    Gulrajani et al. 2017, algorithm 1. Raises ValueError where critic_steps is below 1 or the
    penalty is negative.
    """
    check_count("critic_steps", critic_steps)
    check_at_least("penalty", penalty, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        duel = dueling(model)
        if duel.begin() % (critic_steps + 1) < critic_steps:
            with torch.no_grad():
                fakes = duel.fakes(len(images))
            real, fake = duel.scores(images, fakes)
            excess = gradient_penalty(duel.critic, images, fakes)
            return fake.mean() - real.mean() + penalty * excess
        frozen = {name: value.detach() for name, value in duel.critic.named_parameters()}
        scores = functional_call(duel.critic, frozen, duel.fakes(len(images)))
        return -cast(Tensor, scores).float().mean()

    return objective
