"""What a recipe is: everything that decides the weights, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.datasets import Dataset
from armsrace.precision import autocast, reduced_precision

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images, labels) -> scalar loss; may draw from torch's global generator."""


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch: images (N, C, H, W), labels (N,)."""
    return functional.cross_entropy(model(images), labels)


def always(objective: Objective) -> Callable[[float], Objective]:
    """The same objective from the first step to the last."""
    return lambda progress: objective


def one_cycle(peak: float, warm_up: float = 0.2) -> Callable[[float], float]:
    """Linear from near 0 to `peak` over the first `warm_up` of training, then linear to 0."""

    def rate(progress: float) -> float:
        rising = progress / warm_up if warm_up else 1.0
        return peak * max(min(rising, (1 - progress) / (1 - warm_up)), 1e-3)

    return rate


def shuffled(labels: Tensor) -> Tensor:
    """All images once, in an order (N,) drawn from torch's global generator."""
    return torch.randperm(len(labels)).to(labels.device)


def balanced(labels: Tensor) -> Tensor:
    """The classes in turn, 0, 1, …, 0, 1, …: as many images of each as the rarest has, shuffled.

    An order (M,) of images labeled (N,), drawn from torch's global generator. The images that a
    more frequent class has left over wait for another epoch.
    """
    order = shuffled(labels)
    groups = [order[labels[order] == label] for label in range(int(labels.max()) + 1)]
    rarest = min(len(group) for group in groups)
    return torch.stack([group[:rarest] for group in groups], dim=1).flatten()


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        epochs: passes over the images.
        batch_size: images per step.
        optimizer: of parameters.
        learning_rate: from the progress of training, 0 to 1, so that a resumed run needs no
            scheduler state.
        settings: the same in words, for the card.
        objective: from the progress of training, as learning_rate.
        quality: what the card reports, on the test and on the held-out images: the fraction
            classified correctly, the mean squared error per pixel of a network that returns its
            input, or the Fréchet distance of a generator's samples to them (`training.quality`).
        start: sets a new network by the images (N, C, H, W) and labels (N,) that it will be
            trained on; may draw from torch's global generator.
        around: what is trained to get the network, e.g. a generator in a `GANTrainer` with its
            critic, which is not kept.
        order: labels to the order of an epoch's images, which is cut into batches.
        gpu: whether a CPU would take weeks, so that training all networks on one leaves it out.
        select: what of the data set the network is for, e.g. two of the ten classes.
        sample: which of the selected training images it sees; it is tested on all.
    """

    epochs: int
    batch_size: int
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    learning_rate: Callable[[float], float]
    settings: str
    objective: Callable[[float], Objective] = always(cross_entropy)
    quality: Literal["accuracy", "error", "frechet"] = "accuracy"
    start: Callable[[nn.Module, Tensor, Tensor], None] = lambda network, images, labels: None
    around: Callable[[nn.Module], nn.Module] = lambda network: network
    order: Callable[[Tensor], Tensor] = shuffled
    gpu: bool = False
    select: Callable[[Dataset], Dataset] = lambda data: data
    sample: Callable[[Dataset], Dataset] = lambda data: data


def in_reduced_precision(objective: Objective) -> Objective:
    """The objective with convolutions in bfloat16 on a device that has it, in float32 elsewhere.

    Where a processor has it, a step takes half as long (measured).
    """

    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with autocast(images.device, reduced_precision(images.device)):
            return objective(model, images, labels)

    return run


def augmented(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch mirrored and shifted, in reduced precision."""
    return in_reduced_precision(cross_entropy)(model, mirrored_and_shifted(images), labels)


def mirrored_and_shifted(images: Tensor, reach: int = 4) -> Tensor:
    """Each image (N, C, H, W) mirrored with probability one half, and shifted by up to `reach`.

    What moves in at an edge is black. Draws from torch's global generator, as an objective may. The
    usual augmentation for CIFAR-10, e.g. He et al. 2016, §4.2.
    """
    count, _, height, width = images.shape
    mirror = (torch.rand(count, 1, 1, 1) < 0.5).to(images.device)
    images = torch.where(mirror, images.flip(3), images)
    padded = functional.pad(images, (reach, reach, reach, reach))
    top, left = (torch.randint(2 * reach + 1, (2, count, 1))).to(images.device)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]
    own = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channels = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
    return padded[own, channels, rows, columns]


def normal_like(values: Tensor) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of `values`.

    Torch's global generator draws them on the CPU, whatever the device, so that a run draws the
    same numbers on every device.
    """
    return torch.randn_like(values, device="cpu").to(values.device)
