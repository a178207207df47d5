"""Defensive distillation: a network trained on another's soft labels, both at a temperature T.

Papernot et al. 2016, "Distillation as a defense to adversarial perturbations against deep neural
networks", §III and §IV. The teacher learns the labels and the student the teacher's soft labels,
each through softmax(z / T); both are then used at T = 1. The student is an ordinary network of the
zoo: only its training is the defense.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.contracts import Model
from armsrace.training.recipe import Objective

Teacher = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> logits (N, K), at T = 1."""


def soft_labels(logits: Tensor, temperature: float) -> Tensor:
    """The confidences softmax(z / T), the more even the greater T.

    Args:
        logits: z (N, K).
        temperature: T, finite and > 0.

    Returns:
        (N, K).

    References:
        Papernot et al. 2016, eq. 2.

    Example:
        >>> defenses.soft_labels(torch.tensor([[40.0, 0.0]]), temperature=40.0)
        tensor([[0.7311, 0.2689]])
    """
    return (logits / _checked(temperature)).softmax(dim=1)


def at_temperature(temperature: float) -> Objective:
    """The teacher's objective: cross-entropy of softmax(z / T) with the labels, in nats.

    Its gradient in the logits is 1 / T of the plain one.

    Args:
        temperature: T, finite and > 0.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> objective = defenses.at_temperature(40.0)
        >>> objective(model, digits.images, digits.labels).ndim
        0
    """
    _checked(temperature)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(model(images).float() / temperature, labels)

    return objective


def distilled_from(teacher: Callable[[torch.device], Teacher], temperature: float) -> Objective:
    """The student's objective: cross-entropy of its softmax(z / T) with its teacher's, in nats.

    The labels are not used.

    Args:
        teacher: from a device to the trained network there, called once.
        temperature: T, finite and > 0, the same for both.

    References:
        Papernot et al. 2016, §IV-A.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> objective = defenses.distilled_from(lambda device: model, temperature=40.0)
        >>> objective(zoo.load("s3-cnn"), digits.images, digits.labels).ndim
        0
    """
    _checked(temperature)
    loaded = cache(teacher)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            soft = soft_labels(loaded(images.device)(images).float(), temperature)
        return functional.cross_entropy(model(images).float() / temperature, soft)

    return objective


class TemperatureScaled(nn.Module):
    """A network with its logits divided by a temperature.

    No prediction and no decision boundary changes. Around a distilled network it is the network as
    it was trained, which an adaptive attack takes its gradient from (Carlini and Wagner 2016).

    Args:
        model: images (N, C, H, W) to logits (N, K); its mode is taken over.
        temperature: T, finite and > 0.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> scaled = defenses.TemperatureScaled(model, 40.0)
        >>> torch.equal(scaled(digits.images), model(digits.images) / 40)
        True
    """

    def __init__(self, model: Model, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, _checked(temperature)
        self.training = getattr(model, "training", False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits over T."""
        return self.model(images) / self.temperature


def _checked(temperature: float) -> float:
    """The temperature, or ValueError."""
    if not 0 < temperature < torch.inf:
        raise ValueError(f"temperature must be finite and > 0, got {temperature:g}")
    return temperature
