"""What a recipe is: everything that decides the weights, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from armsrace.datasets import Dataset

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images, labels) -> scalar loss; may draw from torch's global generator, seeded a run."""


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch: images (N, C, H, W), labels (N,)."""
    return nn.functional.cross_entropy(model(images), labels)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    learning_rate: the step's place in training, 0 to 1, to the learning rate, so that a resumed
        run needs no scheduler state.
    select: what of the data set the network is for, e.g. two of the ten classes.
    sample: which of the selected training images it sees; it is tested on all.
    settings: the same in words, for the card.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    learning_rate: Callable[[float], float]
    settings: str
    objective: Objective = cross_entropy
    select: Callable[[Dataset], Dataset] = lambda data: data
    sample: Callable[[Dataset], Dataset] = lambda data: data


def one_cycle(peak: float, warm_up: float = 0.2) -> Callable[[float], float]:
    """Linear from near 0 to `peak` over the first `warm_up` of training, then linear to 0."""

    def rate(progress: float) -> float:
        rising = progress / warm_up if warm_up else 1.0
        return peak * max(min(rising, (1 - progress) / (1 - warm_up)), 1e-3)

    return rate
