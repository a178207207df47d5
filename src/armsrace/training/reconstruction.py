"""Training networks that return their input: the objectives of MagNet's autoencoders.

Meng and Chen 2017, and the authors' code for what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.contracts import check_at_least
from armsrace.training.recipe import Objective, normal_like

NOISE = 0.1
ACTIVITY = 1e-9


def noisy(images: Tensor, deviation: float) -> Tensor:
    """Images (N, C, H, W) plus normal noise of this deviation, clipped to [0, 1].

    Draws from torch's global generator, as an objective may.
    """
    return (images + deviation * normal_like(images)).clamp(0, 1)


def reconstruction(noise: float = NOISE, activity: float = ACTIVITY) -> Objective:
    """The mean squared error a pixel of what is made of a noisy image, against the clean one.

    noise: the deviation, in pixel units. activity: the weight of the squared outputs of all
    sigmoids, summed over an image and averaged over the batch. Labels are not looked at. Raises
    ValueError where either is negative.
    """
    return diverse(0.0, noise, activity)


def diverse(alpha: float, noise: float = NOISE, activity: float = ACTIVITY) -> Objective:
    """`reconstruction` of a team, less alpha times the squared distance of each to their mean.

    The model answers (N, members, H, W) to images (N, 1, H, W). Meng and Chen 2017: so
    that an image made against one member need not fool another. Raises ValueError where alpha, the
    noise or the activity is negative.
    """
    for name, value in (("alpha", alpha), ("noise", noise), ("activity", activity)):
        check_at_least(name, value, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with _sigmoids(model) as outputs:
            rebuilt = model(noisy(images, noise))
        error = functional.mse_loss(rebuilt, images.expand_as(rebuilt))
        spread = (rebuilt - rebuilt.mean(dim=1, keepdim=True)).square().mean()
        energy = torch.stack([output.square().sum() for output in outputs]).sum() / len(images)
        return error - alpha * spread + activity * energy

    return objective


@contextmanager
def _sigmoids(model: nn.Module) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output)

    layers = (layer for layer in model.modules() if isinstance(layer, nn.Sigmoid))
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
