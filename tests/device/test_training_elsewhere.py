"""Training on another device: the same weights, and torch's random numbers left alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace.attacks.black_box.substitute import train_substitute
from armsrace.datasets import Dataset
from armsrace.models import autoencoders, classifiers, gan
from armsrace.models import autoencoders as vae
from armsrace.recipes import every_other_pair, only
from armsrace.training.callbacks import follow
from armsrace.training.gan import GANTrainer, r1_loss, wgan_gp
from armsrace.training.loop import fit
from armsrace.training.objectives import (
    class_evidence,
    diverse,
    evidence_bound,
    reconstruction,
    separate_confidences,
)
from armsrace.training.recipe import (
    Objective,
    Recipe,
    always,
    augmented,
    balanced,
    cross_entropy,
    one_cycle,
)
from tests.attacks.borrowed import SEEDS, linear
from tests.device.test_attacks_elsewhere import draws, given
from tests.elsewhere import run_there, same_on_both
from tests.models.small_vaes import small

RECIPE = Recipe(2, 6, torch.optim.Adam, one_cycle(1e-2), "", order=balanced)


def data(classes: int = 3) -> Dataset:
    labels = torch.arange(12) % classes
    return Dataset(SEEDS[:12], labels, "mnist", "train", "unverified", Path())


def weights(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def convolutional() -> nn.Module:
    # A bias before a normalisation would have a gradient of rounding alone, which Adam blows up.
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 64, 3),
    )  # fmt: skip


def fitted(device: torch.device) -> list[Tensor]:
    return weights(fit(convolutional, data(), RECIPE, device=device)[0])


def resumed(device: torch.device) -> list[Tensor]:
    """Interrupted after an epoch, and gone on with."""
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"device": device, "state": Path(folder) / "state"}
        fit(convolutional, data(), replace(RECIPE, epochs=1), **settings)
        return weights(fit(convolutional, data(), RECIPE, resume=True, **settings)[0])


def followed(device: torch.device) -> Any:
    def look(model: nn.Module) -> Tensor:
        return model(SEEDS[:2].to(device)).detach()

    model, seen = follow(convolutional, data(), RECIPE, look, every=2, device=device)
    return weights(model), seen


def selected(device: torch.device) -> Any:
    images, labels = SEEDS[:12].to(device), (torch.arange(12) % 3).to(device)
    every = Dataset(images, labels, "mnist", "train", "unverified", Path())
    parts = only((2, 1), every), every_other_pair(1, every)
    return [(part.images, part.labels) for part in parts]


@pytest.mark.parametrize("case", [fitted, resumed, followed, selected], ids=lambda f: f.__name__)
def test_the_loop(case: Callable[..., Any]) -> None:
    same_on_both(case)


def critic() -> nn.Module:
    return GANTrainer(
        gan.Generator(3, nn.Linear(3, 784), nn.Unflatten(1, (1, 28, 28))), gan.critic(2)
    )


OBJECTIVES: dict[str, tuple[Callable[[], nn.Module], Objective]] = {
    "augmented": (convolutional, augmented),
    "class_evidence": (small, class_evidence),
    "cross_entropy": (convolutional, cross_entropy),
    "diverse": (partial(autoencoders.Team, 2), diverse(0.2)),
    "evidence_bound": (vae.s3_vae, evidence_bound),
    "in_turns": (critic, wgan_gp(1)),
    "reconstruction": (autoencoders.magnet_1, reconstruction()),
    "separate_confidences": (partial(classifiers.rbf, 3), separate_confidences),
    "together": (critic, r1_loss()),
}


def moved_by(device: torch.device, name: str) -> list[Tensor]:
    """Two steps down an objective, whatever the network."""
    build, objective = OBJECTIVES[name]
    descent = partial(torch.optim.SGD, lr=0.0, momentum=0.9)
    recipe = replace(RECIPE, epochs=1, objective=always(objective), optimizer=descent)
    return weights(fit(build, data(), recipe, device=device)[0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective(name: str) -> None:
    same_on_both(moved_by, name)


def leaves_random_numbers_alone(kind: str) -> None:
    """Of the CPU and of the device, wherever the work is done."""
    from tests.second_device import RANDOM

    device = torch.device(kind)
    model, _, _ = given(device)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fit(convolutional, data(), replace(RECIPE, epochs=1), device=device)
    follow(convolutional, data(), replace(RECIPE, epochs=1), len_of, every=2, device=device)
    seeds = SEEDS[:4].to(device)
    train_substitute(model, seeds, build=linear, rounds=0, epochs=1, generator=draws())
    assert torch.equal(torch.get_rng_state(), before), "the CPU's random numbers have changed"
    assert RANDOM.state == 3, "the device's random numbers have changed"


def len_of(model: nn.Module) -> int:
    return len(list(model.parameters()))


@pytest.mark.parametrize("kind", ["cpu", "elsewhere"])
def test_random_numbers_are_left_alone(kind: str) -> None:
    run_there(leaves_random_numbers_alone, kind)
