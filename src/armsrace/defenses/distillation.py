"""Defensive distillation: a network trained on another's soft labels, both at a temperature T.

Papernot et al. 2016, §III and §IV. The teacher learns the labels and the student the teacher's
answers, each through softmax(z / T); both are then used at T = 1. The student is an ordinary
network of the zoo: only its training is the defense.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from armsrace.contracts import Model
from armsrace.models import zoo
from armsrace.models.entries import TEMPERATURES
from armsrace.training.recipe import Objective, Recipe, always, in_reduced_precision, one_cycle

Teacher = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> logits (N, K), at T = 1."""


def softened(logits: Tensor, temperature: float) -> Tensor:
    """softmax(z / T): logits (N, K) to confidences (N, K), the more even the greater T.

    Raises ValueError unless temperature is finite and > 0. Papernot et al. 2016, eq. 2.

    >>> defenses.softened(torch.tensor([[40.0, 0.0]]), temperature=40.0)
    tensor([[0.7311, 0.2689]])
    """
    return (logits / _checked(temperature)).softmax(dim=1)


class Tempered(nn.Module):
    """A network with its logits divided by a temperature: images (N, C, H, W) to logits (N, K).

    No prediction and no decision boundary changes. It starts in the network's mode. Around a
    distilled network it is what was trained, and the adaptive attack's view (Carlini and Wagner
    2016). Raises ValueError unless temperature is finite and > 0.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> torch.equal(defenses.Tempered(model, 40.0)(digits.images), model(digits.images) / 40)
    True
    """

    def __init__(self, model: Model, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, _checked(temperature)
        self.training = getattr(model, "training", False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits over T."""
        return self.model(images) / self.temperature


def at_temperature(temperature: float) -> Objective:
    """The teacher's objective: cross-entropy of softmax(z / T) with the labels, in nats.

    Its gradient in the logits is 1 / T of the plain one. Raises ValueError as `softened` does.

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

    Args:
        teacher: from a device to the trained network there, asked for once.
        temperature: T, the same for both.

    The labels are not looked at. Raises ValueError as `softened` does. Papernot et al. 2016, §IV-A.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> objective = defenses.distilled_from(lambda device: model, temperature=40.0)
    >>> objective(zoo.load("s3-cnn"), digits.images, digits.labels).ndim
    0
    """
    _checked(temperature)
    taught_by = cache(teacher)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            soft = softened(taught_by(images.device)(images).float(), temperature)
        return functional.cross_entropy(model(images).float() / temperature, soft)

    return objective


def _checked(temperature: float) -> float:
    if not 0 < temperature < torch.inf:
        raise ValueError(f"temperature must be finite and > 0, got {temperature:g}")
    return temperature


def _recipe(objective: Objective, words: str) -> Recipe:
    # At T = 100 momentum SGD, the paper's, has not left the constant answer after 300 steps at any
    # rate tried: Adam does not see by how much T shrinks the gradient.
    settings = f"Adam, peak 1e-3; {words}; bfloat16"
    reduced = always(in_reduced_precision(objective))
    return Recipe(4, 128, Adam, one_cycle(1e-3), settings, objective=reduced)


def _from_zoo(name: str) -> Callable[[torch.device], Teacher]:
    return lambda device: zoo.load(name, device)


def _teachers_name(temperature: int) -> str:
    return f"distillation-teacher-{temperature}"


RECIPES: dict[str, Recipe] = {
    _teachers_name(temperature): _recipe(at_temperature(temperature), f"temperature {temperature}")
    for temperature in TEMPERATURES
} | {
    f"distilled-{temperature}": _recipe(
        distilled_from(_from_zoo(_teachers_name(temperature)), temperature),
        f"temperature {temperature}, soft labels of {_teachers_name(temperature)}",
    )
    for temperature in TEMPERATURES
}
