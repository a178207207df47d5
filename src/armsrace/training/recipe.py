"""What a recipe is: everything that decides the weights, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from armsrace.datasets import Dataset
from armsrace.precision import autocast, reduced_precision
from armsrace.training.orders import shuffled

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images, labels) -> scalar loss; may draw from torch's global generator, seeded a run."""


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch: images (N, C, H, W), labels (N,)."""
    return nn.functional.cross_entropy(model(images), labels)


def normal_like(values: Tensor) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of `values`.

    Torch's global generator draws them on the CPU, whatever the device: a run on another one draws
    what it would have drawn there.
    """
    return torch.randn_like(values, device="cpu").to(values.device)


def always(objective: Objective) -> Callable[[float], Objective]:
    """The same objective from the first step to the last."""
    return lambda progress: objective


def in_reduced_precision(objective: Objective) -> Objective:
    """The objective with convolutions in bfloat16 on a device that has it, in float32 elsewhere.

    Where a processor has it, a step takes half as long (measured).
    """

    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with autocast(images.device, reduced_precision(images.device)):
            return objective(model, images, labels)

    return run


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    learning_rate, objective: of the step's place in training, 0 to 1, so that a resumed run needs
        no scheduler state.
    quality: what the card reports, on the test and on the held-out images: the share of images
        read as labelled, the mean squared error a pixel of a network that returns its input, or
        the Fréchet distance of a generator's samples to them (`training.quality`).
    select: what of the data set the network is for, e.g. two of the ten classes.
    sample: which of the selected training images it sees; it is tested on all.
    around: what is trained to get the network, e.g. a generator in a `Duel` with its critic, which
        is not kept.
    order: labels to the order of an epoch's images, of which a batch is a stretch.
    gpu: whether a CPU would take weeks, so that training all networks on one leaves it out.
    settings: the same in words, for the card.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    learning_rate: Callable[[float], float]
    settings: str
    objective: Callable[[float], Objective] = always(cross_entropy)
    quality: Literal["accuracy", "error", "frechet"] = "accuracy"
    around: Callable[[nn.Module], nn.Module] = lambda network: network
    order: Callable[[Tensor], Tensor] = shuffled
    gpu: bool = False
    select: Callable[[Dataset], Dataset] = lambda data: data
    sample: Callable[[Dataset], Dataset] = lambda data: data


def one_cycle(peak: float, warm_up: float = 0.2) -> Callable[[float], float]:
    """Linear from near 0 to `peak` over the first `warm_up` of training, then linear to 0."""

    def rate(progress: float) -> float:
        rising = progress / warm_up if warm_up else 1.0
        return peak * max(min(rising, (1 - progress) / (1 - warm_up)), 1e-3)

    return rate
