"""Trained networks by name: the architecture, its weights and the card that says where from.

Weights are safetensors, so loading never runs foreign code; each file's sha256 stands in its card.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import nn

from armsrace.models.entries import ENTRIES, Entry
from armsrace.models.storage import unpacked
from armsrace.resources import checkpoint_folders


class Card(BaseModel):
    """What is known of one checkpoint; accuracies are fractions, `seconds` wall-clock training.

    In place of an accuracy, a network that returns its input has an error, mean squared a pixel,
    and a generator the Fréchet distance of its samples to the images (`training.quality`), and
    `critic`, how far its critic parted the two over the course of training (`training.duel`).
    """

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
    test_accuracy: float | None = None
    test_error: float | None = None
    test_frechet: float | None = None
    test_images: int
    held_out_accuracy: float | None = None
    held_out_error: float | None = None
    held_out_frechet: float | None = None
    held_out_images: int
    critic: list[float] | None = None
    torch: str
    trained: str
    sha256: str


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not the one that its card describes."""


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
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise CheckpointError(f"the card {path} cannot be read: {error}") from error


def load(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """A trained network in evaluation mode, float32. Torch's random state stays as it is.

    Raises KeyError for an unknown name and CheckpointError where the weights are missing, their
    sha256 is not the card's, or they do not fit the architecture.
    """
    expected, path = card(name).sha256, _find(name)
    assert path is not None, "card() has found it"
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{path} is damaged: sha256 {found}, its card says {expected}; "
            f"restore it or run `armsrace train {name}`"
        )
    # The weights drawn here are replaced: whoever loads in training must not shift its numbers.
    with torch.random.fork_rng(devices=[]):
        model = build(name)
    try:
        model.load_state_dict(unpacked(load_safetensors(content)))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the architecture of {name}: {error}") from error
    # Measured on a CPU: this layout takes 0.7 of the time forwards, and makes an answer
    # independent of the strides of the images, by which convolutions choose their kernel.
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval().to(device)


def _find(name: str) -> Path | None:
    candidates = (folder / f"{name}.safetensors" for folder in checkpoint_folders())
    return next((path for path in candidates if path.is_file()), None)
