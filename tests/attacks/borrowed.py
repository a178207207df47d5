"""Attacks by way of another network, with one: what their rows need beside a model and digits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import UNIT, AttackResult, Bounds, Model
from armsrace.datasets import embedded
from tests.attacks.cases import ToUnit

PIXELS, CLASSES = 784, 32


def some_seeds() -> Tensor:
    """48 digits that no other test uses, in [0, 1]."""
    pixels, _ = embedded.digits()
    return torch.from_numpy(pixels[4000:4960:20].astype("float32"))[:, None] / 255


SEEDS = some_seeds()


def transfer(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float,
    targets: Tensor | None = None, bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """From a twin of the model, which is white-box FGSM as far as the images go."""
    # A copy made in inference mode could not be differentiated.
    with torch.inference_mode(False):
        twin = copy.deepcopy(model)
    return attacks.transfer(
        model, images, labels, source=twin,
        attack=partial(attacks.fgsm, epsilon=epsilon), targets=targets, bounds=bounds,
    )  # fmt: skip


def substitute(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, generator: torch.Generator,
    targets: Tensor | None = None, bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """By a linear substitute, trained in a few steps."""
    return attacks.substitute(
        model, images, labels, seeds=bounds.lower + bounds.width * SEEDS,
        build=partial(linear, bounds), rounds=1, epochs=5,
        learning_rate=0.01, attack=partial(attacks.fgsm, epsilon=epsilon), targets=targets,
        bounds=bounds, generator=generator,
    )  # fmt: skip


@cache
def basis() -> tuple[Tensor, Tensor]:
    """The mean (784,) of the seeds and their 20 principal directions (784, 20), in float64."""
    pixels = SEEDS.double().flatten(1)
    mean = pixels.mean(dim=0)
    return mean, torch.linalg.svd(pixels - mean, full_matrices=False).Vh[:20].T


def on_manifold(
    model: Model, images: Tensor, labels: Tensor, *, targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """In the span of the seeds' principal directions, from the projection onto it."""
    mean, directions = (part.to(images.device) for part in basis())

    def encoder(images: Tensor) -> Tensor:
        unit = (images.double() - bounds.lower) / bounds.width
        return (unit.flatten(1) - mean) @ directions

    def decoder(latents: Tensor) -> Tensor:
        pixels = bounds.lower + bounds.width * (mean + latents.double() @ directions.T)
        return pixels.view(-1, 1, 28, 28).to(images.dtype)

    return attacks.on_manifold(
        model, images, labels, decoder=decoder, encoder=encoder, steps=16, step_size=0.6,
        gamma=0.5, targets=targets, bounds=bounds,
    )  # fmt: skip


def greedy_explanation(
    model: Model, images: Tensor, labels: Tensor, *, targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """As `latent_descent` explains, and many pixels at once."""
    return attacks.greedy_explanation(
        model, images, labels, explain=_seeds(model, bounds), pixels=40, steps=20, targets=targets,
        bounds=bounds,
    )  # fmt: skip


def latent_descent(
    model: Model, images: Tensor, labels: Tensor, *, targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """Each class explains every image by the seed that the model takes for it most clearly."""
    return attacks.latent_descent(
        model, images, labels, explain=_seeds(model, bounds), coarse=12, binary_search_steps=4,
        targets=targets, bounds=bounds,
    )  # fmt: skip


def _seeds(model: Model, bounds: Bounds) -> Callable[[Tensor], Tensor]:
    """The seed that the model takes for each class most clearly, whatever the image."""
    with torch.inference_mode(False):
        twin = copy.deepcopy(model)
    if isinstance(twin, nn.Module):
        twin.eval()

    def explain(asked: Tensor) -> Tensor:
        seeds = bounds.lower + bounds.width * SEEDS.to(asked)
        drawn = seeds[twin(seeds).log_softmax(dim=1).argmax(dim=0)]
        return drawn.expand(len(asked), *drawn.shape)

    return explain


def linear(bounds: Bounds = UNIT) -> nn.Module:
    return nn.Sequential(nn.Flatten(), ToUnit(bounds), nn.Linear(PIXELS, CLASSES))
