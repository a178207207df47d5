"""Training a generator in few steps: the logistic game with a penalty on the critic's slope."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from armsrace.contracts import check_at_least, check_count
from armsrace.training.duel import dueling
from armsrace.training.recipe import Objective


def slope_penalty(critic: nn.Module, images: Tensor) -> Tensor:
    """Half the mean squared slope of the critic at images (N, C, H, W).

    R1 of Mescheder et al. 2018, eq. 9, without its factor.
    """
    images = images.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(images).float().sum(), images, create_graph=True)
    return slopes.flatten(1).square().sum(dim=1).mean() / 2


def together(penalty: float = 0.3, every: int = 4) -> Objective:
    """Both networks move at every step, on the same fakes: one pass through the critic serves both.

    Critic and generator lower softplus(score of a fake) + softplus(−score of an image) and
    softplus(−score of a fake): Goodfellow et al. 2014, §3, the version that does not saturate.
    penalty: the factor of `slope_penalty`, `every` times as great but only each so many steps
        (Karras et al. 2020, "lazy regularization"). On digits 10 ends badly: the scores shrink
        below what the optimizer's steps disturb, the critic goes flat and the fakes decay.
    Raises ValueError where the penalty is negative or `every` below 1.
    """
    check_at_least("penalty", penalty, 0)
    check_count("every", every)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        duel = dueling(model)
        number = duel.begin()
        fakes = duel.fakes(len(images))
        real, fake = duel.scores(images, fakes)

        def turned(slopes: Tensor) -> Tensor:
            # From sigmoid(score), the critic's, to −sigmoid(−score), the generator's.
            return -slopes * (-fake.detach()).exp().view(-1, 1, 1, 1)

        fakes.register_hook(turned)
        loss = softplus(fake).mean() + softplus(-real).mean()
        if number % every == 0:
            loss = loss + penalty * every * slope_penalty(duel.critic, images)
        return loss

    return objective
