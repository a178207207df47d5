"""From a name to a checkpoint with its card: what `armsrace train` does."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from armsrace import datasets
from armsrace.datasets import Dataset
from armsrace.models import zoo
from armsrace.models.layers import parameters
from armsrace.models.zoo import packed, unpacked
from armsrace.resources import checkpoint_folders, device_name, replacing
from armsrace.training.gan import GANTrainer
from armsrace.training.loop import Progress, fit
from armsrace.training.quality import QUALITIES
from armsrace.training.recipe import Recipe


def train(
    name: str,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    progress: Progress = lambda done, total, loss: None,
) -> zoo.Card:
    """Train one network of the zoo, and write its weights and card.

    The state of an unfinished run is kept beside the weights until they are written.

    Args:
        name: of the zoo's entry.
        recipe: how it is trained.
        seed: as for `fit`, as are device, resume and progress.

    Returns:
        The card.

    Raises:
        KeyError: the name is unknown.
        DatasetNotFound: the full data set is missing.
    """
    entry = zoo.entry(name)
    data = recipe.sample(recipe.select(datasets.training(entry.dataset)))
    weights = checkpoint_folders()[0] / f"{name}.safetensors"
    state = weights.with_name(f".{name}.unfinished.safetensors")
    trained, spent = fit(
        lambda: recipe.around(entry.build()), data, recipe, seed=seed, device=device, state=state,
        resume=resume, progress=progress,
    )  # fmt: skip
    gan = trained if isinstance(trained, GANTrainer) else None
    model = gan.network if gan else trained
    digest = _store(model.cpu(), entry.storage, weights)
    card = _card(name, model, recipe, data, seed, device, spent.seconds, digest)
    card.critic = gan.curve() if gan else None
    with replacing(weights.with_suffix(".json")) as temporary:
        temporary.write_text(card.model_dump_json(indent=2, exclude_none=True) + "\n")
    state.unlink(missing_ok=True)
    return card


def _store(model: nn.Module, storage: torch.dtype, path: Path) -> str:
    """Write the weights, rounded, and return their sha256."""
    # What is measured and attacked must be what is on disk, so the rounding happens first.
    state = packed(model.state_dict(), storage)
    model.load_state_dict(unpacked(state))
    with replacing(path) as temporary:
        save_file(state, temporary)
        return hashlib.sha256(temporary.read_bytes()).hexdigest()


def _card(
    name: str, model: nn.Module, recipe: Recipe, data: Dataset, seed: int, device: str,
    seconds: float, digest: str,
) -> zoo.Card:  # fmt: skip
    """The card of a trained network, with its quality on the test and held-out images."""
    test = recipe.select(datasets.load(zoo.entry(name).dataset, "test"))
    held_out = recipe.select(datasets.held_out(zoo.entry(name).dataset))
    quality: dict[str, Any] = {
        f"{split}_{recipe.quality}": QUALITIES[recipe.quality](model, data)
        for split, data in {"test": test, "held_out": held_out}.items()
    }
    return zoo.Card(
        name=name,
        architecture=zoo.entry(name).about,
        parameters=parameters(model),
        recipe=f"armsrace train {name} --seed {seed}",
        settings={"optimizer": recipe.settings, "batch": str(recipe.batch_size)},
        data=f"{data.description}, from number {datasets.HELD_OUT:,} on",
        seed=seed,
        epochs=recipe.epochs,
        device=device_name(device),
        seconds=round(seconds, 1),
        test_images=len(test),
        held_out_images=len(held_out),
        **quality,
        torch=torch.__version__,
        trained=date.today().isoformat(),
        sha256=digest,
    )
