"""Trained networks by name: the architecture, its weights and the card that says where from.

Weights are safetensors, so loading never runs foreign code; each file's sha256 stands in its card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load as load_safetensors
from torch import nn

from armsrace.models import classifiers
from armsrace.resources import checkpoint_folders


@dataclass(frozen=True)
class Entry:
    """One network of the zoo; `storage` is the dtype of its weights on disk, float32 in memory."""

    build: Callable[[], nn.Module]
    about: str
    dataset: str = "mnist"
    storage: torch.dtype = torch.float32


class Card(BaseModel):
    """What is known of one checkpoint; accuracies are fractions, `seconds` wall-clock training."""

    model_config = ConfigDict(extra="forbid")

    name: str
    architecture: str
    parameters: int
    recipe: str
    settings: dict[str, str]
    data: str
    seed: int
    epochs: int
    device: str
    seconds: float
    test_accuracy: float
    test_images: int
    held_out_accuracy: float
    held_out_images: int
    torch: str
    trained: str
    sha256: str


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not the one that its card describes."""


ENTRIES: dict[str, Entry] = {
    "softmax": Entry(classifiers.softmax_regression, "softmax regression"),
    "logistic-3-vs-7": Entry(
        partial(classifiers.softmax_regression, classes=2),
        "logistic regression, 3 (class 0) against 7 (class 1)",
    ),
    "maxout": Entry(classifiers.maxout, "Goodfellow's maxout network", storage=torch.float16),
    "maxout-fgsm": Entry(
        classifiers.maxout, "maxout, half its loss on FGSM images (ε = .25)", storage=torch.float16
    ),
    "s3-cnn": Entry(classifiers.s3_cnn, "the 16-32-64 convolutional network of chapter 1"),
    "s3-cnn-fgsm": Entry(classifiers.s3_cnn, "the same, trained on FGSM images alone (ε = .3)"),
    "carlini-wagner": Entry(classifiers.carlini_wagner, "the Carlini–Wagner network"),
    "madry": Entry(classifiers.madry, "Madry's network, trained without attacks"),
    **{
        f"tramer-{letter.lower()}": Entry(
            partial(classifiers.tramer, letter), f"Tramèr's network {letter}"
        )
        for letter in "ABCD"
    },
    **{
        f"defense-gan-{letter.lower()}": Entry(
            partial(classifiers.defense_gan, letter), f"Defense-GAN's classifier {letter}"
        )
        for letter in "ABCDEF"
    },
}


def names(trained: bool = True) -> list[str]:
    """The networks that `load` can give, or with trained=False every one that can be trained."""
    return [name for name in ENTRIES if not trained or _find(name) is not None]


def entry(name: str) -> Entry:
    """The zoo's entry; raises KeyError that lists the names where there is none."""
    if name not in ENTRIES:
        raise KeyError(f"no network named {name!r}; the zoo has {', '.join(ENTRIES)}")
    return ENTRIES[name]


def build(name: str) -> nn.Module:
    """The untrained network, in training mode, initialised from torch's global generator."""
    return entry(name).build()


def card(name: str) -> Card:
    """The card of a trained network; raises CheckpointError where there is none or it is unread."""
    weights = _find(name)
    if weights is None:
        entry(name)
        raise CheckpointError(f"{name} has no weights yet: run `armsrace train {name}`")
    path = weights.with_suffix(".json")
    try:
        return Card.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"the card {path} cannot be read: {error}") from error


def load(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """A trained network in evaluation mode, float32.

    Raises KeyError for an unknown name and CheckpointError where the weights are missing, their
    sha256 is not the card's, or they do not fit the architecture.
    """
    model, expected = build(name), card(name).sha256
    path = _find(name)
    assert path is not None, "card() has found it"
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged: sha256 {found}, its card says {expected}; "
            f"restore it or run `armsrace train {name}`"
        )
    state = {key: value.float() for key, value in load_safetensors(content).items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the architecture of {name}: {error}") from error
    return model.eval().to(device)


def _find(name: str) -> Path | None:
    candidates = (folder / f"{name}.safetensors" for folder in checkpoint_folders())
    return next((path for path in candidates if path.is_file()), None)
