"""Every attack on another device: the images, successes and costs that the CPU finds."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from inspect import isfunction, signature
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import armsrace.attacks
from armsrace import attacks
from armsrace import losses as margins
from armsrace.attacks import adaptive, physical
from armsrace.attacks.audio import psychoacoustic
from armsrace.attacks.audio import psychoacoustic as hearing
from armsrace.attacks.audio import room_simulation as rooms
from armsrace.attacks.black_box import substitute as imitation
from armsrace.attacks.generative import overpowered as pairs
from armsrace.attacks.generative.distal import unlikelihood
from armsrace.attacks.minimal.universal import universal_perturbation
from armsrace.attacks.sparse import adversarial_patch as patches
from armsrace.models.audio import sound_classifier
from armsrace.models.autoencoders import manifold_vae
from tests.attacks.borrowed import SEEDS, basis, linear
from tests.attacks.specs import SPECS
from tests.elsewhere import same_on_both

COUNT, LENGTH = 2, 1024
Given = tuple[nn.Module, Tensor, Tensor]
"""A network, images (2, 1, 28, 28) that it reads as these labels (2,)."""


@cache
def digits() -> Given:
    """Digits, and an untrained network that is right by definition."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(6 * 8 * 8, 10),
        ).eval()  # fmt: skip
    with torch.no_grad():
        return model, SEEDS[:COUNT], model(SEEDS[:COUNT]).argmax(dim=1)


def given(device: torch.device) -> Given:
    """The digits and the network on a device."""
    model, images, labels = digits()
    return copy.deepcopy(model).to(device), images.to(device), labels.to(device)


def draws() -> torch.Generator:
    """Of the CPU, as a caller on any device may have one."""
    return torch.Generator().manual_seed(0)


SPECIFIED = {spec.name: spec for spec in SPECS}
TARGETED = {spec.attack: spec.name for spec in reversed(SPECS) if spec.targeted}
"""One row of each attack that takes targets."""


def specified(device: torch.device, name: str, targeted: bool) -> Any:
    spec, (model, images, labels) = SPECIFIED[name], given(device)
    return spec.run(model, images, labels, targets=(labels + 1) % 10 if targeted else None)


@pytest.mark.parametrize("name", SPECIFIED)
def test_an_attack(name: str) -> None:
    same_on_both(specified, name, False)


@pytest.mark.parametrize("name", TARGETED.values())
def test_a_targeted_attack(name: str) -> None:
    same_on_both(specified, name, True)


def camera(device: torch.device) -> Tensor:
    _model, images, _ = given(device)
    return physical.camera(images.expand(-1, 3, -1, -1), draws(), screen=True)


def losses(device: torch.device) -> list[Tensor]:
    model, images, labels = given(device)
    each = (getattr(margins, name) for name in ("cross_entropy", "margin", "logits_ratio"))
    return [loss(model(images), labels) for loss in each]


def physical_attack(device: torch.device) -> Any:
    """Through cameras, whose parameters are drawn for each image anew."""
    model, images, labels = given(device)
    generator = draws()
    seen = adaptive.eot(lambda x: model(physical.camera(x, generator)), 2)
    found = attacks.pgd(seen, images, labels, epsilon=0.3, steps=2)
    rate = physical.destruction_rate(model, images, found.images, labels, seen_dimly)
    return found, rate


def seen_dimly(images: Tensor) -> Tensor:
    return physical.brightness(images, -0.2)


def transformed(device: torch.device) -> list[Tensor]:
    _, images, _ = given(device)
    each = torch.linspace(1, 2, COUNT).to(device)
    return [
        physical.affine(images, 10 * each, 1.1, (each, 0.0)), physical.blur(images, each),
        physical.brightness(images, 0.1), physical.contrast(images, each),
        physical.jpeg(images, 40 * each), physical.noise(images, 0.1, draws()),
        physical.perspective(images, each / 9, 0.1), physical.moire(images, each / 4, each, 3),
    ]  # fmt: skip


def sounds(device: torch.device) -> Given:
    """A network and noises that it hears as these words."""
    model = sound_classifier().eval()
    waves = 0.2 * (2 * torch.rand(COUNT, 1, 1, LENGTH) - 1)
    with torch.no_grad():
        words = model(waves).argmax(dim=1)
    return model.to(device), waves.to(device), words.to(device)


def imperceptible(device: torch.device) -> Any:
    model, waves, words = sounds(device)
    ear = hearing.Hearing(window=128, hop=64)
    targets = (words + 1) % 10
    return psychoacoustic.imperceptible(
        model, waves, words, targets=targets, first_steps=3, steps=4, epsilon=0.2, hearing=ear
    )


def in_rooms(device: torch.device) -> Any:
    model, waves, words = sounds(device)
    heard = rooms.InRooms(model, rooms.room_responses(4, draws(), length=256)).to(device)
    expected = adaptive.eot(heard, 2)
    return attacks.pgd(expected, waves, words, epsilon=0.1, steps=2, bounds=psychoacoustic.WAVES)


@cache
def drawing() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return manifold_vae(latents=4, units=16).eval()


def overpowered(device: torch.device) -> Any:
    model, _, _ = given(device)
    vae = copy.deepcopy(drawing()).to(device)
    starts = pairs.pair_starts(COUNT, 4, draws()).to(device)
    found = attacks.overpowered(model, vae.decode, starts, epsilon=20.0, steps=5, first=False)
    return found, pairs.between(model, vae.decode, starts, points=3)


def distal(device: torch.device) -> Any:
    model, images, labels = given(device)
    found = attacks.distal(model, images, (labels + 1) % 10, confidence=0.2, steps=4)
    return found, attacks.distal(
        model, images, (labels + 1) % 10, confidence=0.99, steps=3, loss=unlikelihood
    )


def perturbation(device: torch.device) -> Tensor:
    return universal_perturbation(*given(device), epsilon=0.2, passes=2, batch_size=2)


def patch(device: torch.device) -> list[Tensor]:
    trained = patches.train_patch(*given(device), epsilon=150, steps=3)
    images = given(device)[1]
    centers, ones = images.new_full((COUNT, 2), 12), images.new_ones(COUNT)
    return [trained, patches.paste_patch(images, trained, centers, 5 * ones, 30 * ones)]


def unrolled(device: torch.device) -> Any:
    model, images, labels = given(device)
    purifier = adaptive.unrolled(lambda x, differentiable=False: x.sqrt())
    shown = nn.Sequential(purifier, model)
    return attacks.bim(shown, images.clamp(0.1, 1), labels, epsilon=0.1, steps=2)


def straight_through(device: torch.device) -> Any:
    model, images, labels = given(device)
    shown = nn.Sequential(adaptive.bpda(torch.round), model)
    return attacks.bim(shown, images, labels, epsilon=0.3, steps=3, step_size=0.2)


def estimated(device: torch.device, estimator: Any) -> Any:
    model, images, labels = given(device)
    small = images[..., 10:18, 10:18]
    model = nn.Sequential(nn.Upsample((28, 28)), model)
    blind = adaptive.estimated_gradient(model, estimator=estimator, generator=draws())
    return attacks.fgsm(blind, small, labels, epsilon=0.2), blind.queries


def trained_substitute(device: torch.device) -> Any:
    model, _, _ = given(device)
    made = imitation.train_substitute(
        model, SEEDS[:20].to(device), build=linear, rounds=1, epochs=2, generator=draws()
    )
    return made.agreement, list(made.model.parameters())


def started(device: torch.device, attack: Callable[..., Any]) -> Any:
    """From the caller's own adversarial images."""
    model, images, labels = given(device)
    start = attacks.fgsm(model, images, labels, epsilon=0.3).images
    return attack(model, images, labels, start=start, generator=draws())


def encoded(device: torch.device) -> Any:
    model, images, labels = given(device)
    mean, directions = (part.float().to(device) for part in basis())
    return attacks.on_manifold(
        model, images, labels, steps=4, gamma=0.5,
        decoder=lambda z: (mean + z @ directions.T).view(-1, 1, 28, 28),
        encoder=lambda x: (x.flatten(1) - mean) @ directions,
    )  # fmt: skip


CASES: dict[str, Callable[..., Any]] = {
    "boundary from a start": partial(started, attack=partial(attacks.boundary, steps=11)),
    "camera": camera,
    "distal": distal,
    "estimated by coordinates": partial(estimated, estimator="coordinate"),
    "estimated by nes": partial(estimated, estimator="nes"),
    "estimated by spsa": partial(estimated, estimator="spsa"),
    "expectation over rooms": in_rooms,
    "hop-skip-jump from a start": partial(
        started, attack=partial(attacks.hop_skip_jump, steps=2, initial_directions=20)
    ),
    "imperceptible": imperceptible,
    "losses": losses,
    "on-manifold in float32": encoded,
    "overpowered": overpowered,
    "physical": physical_attack,
    "pointwise from a start": partial(started, attack=partial(attacks.pointwise, restarts=1)),
    "straight through": straight_through,
    "substitute": trained_substitute,
    "transformations": transformed,
    "universal perturbation": perturbation,
    "adversarial patch": patch,
    "unrolled": unrolled,
}


@pytest.mark.parametrize("name", CASES)
def test_more_than_an_attack(name: str) -> None:
    same_on_both(CASES[name])


WORKINGS = {"attack_context", "call_model", "compress", "mirror_paths", "rejects", "reverberated"}
"""Of the attacks, no attacks."""


def public_attacks() -> set[str]:
    """All that asks a model, and all that a camera or a room does to what it is given."""
    parts = walk_packages(armsrace.attacks.__path__, "armsrace.attacks.")
    names = [part.name for part in parts if not part.ispkg]
    return {
        name
        for module in map(import_module, names)
        for name, value in vars(module).items()
        if isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if next(iter(signature(value).parameters), None) in ("model", "oracle")
        or module in (physical, rooms)
    } - WORKINGS


def test_every_public_attack_has_a_case() -> None:
    """In a row of the specs, or asked for by name in this file."""
    asked = {spec.attack.__name__ for spec in SPECS}
    for node in ast.walk(ast.parse(Path(__file__).read_text())):
        asked |= {node.attr} if isinstance(node, ast.Attribute) else set()
        asked |= {node.id} if isinstance(node, ast.Name) else set()
    wanted = public_attacks() | set(attacks.__all__)
    assert len(wanted) > 40 and wanted <= asked, wanted - asked
