"""The one training loop: deterministic on a CPU for a seed, resumable after any epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from armsrace.resources import replacing
from armsrace.training.recipe import Recipe

Progress = Callable[[int, int, float], None]
"""(steps done, steps in all, loss of the last batch)."""


class Examples(Protocol):
    """What is learned from: a data set, or sounds."""

    @property
    def images(self) -> Tensor:
        """(N, C, H, W)."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""


@dataclass(frozen=True)
class Spent:
    """What a run has taken so far: finished epochs, and wall-clock seconds over all its parts."""

    epochs: int
    seconds: float


def fit(
    build: Callable[[], nn.Module],
    data: Examples,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    state: Path | None = None,
    resume: bool = False,
    progress: Progress = lambda done, total, loss: None,
) -> tuple[nn.Module, Spent]:
    """Train a new network.

    Random numbers (initialization, order, dropout) come from a fork of torch's generators, seeded
    again in each epoch: nothing outside changes, and a resumed run draws what an unbroken one does.

    Args:
        build: the untrained network.
        data: images (N, C, H, W) and labels (N,), the recipe's selection already made.
        recipe: how it is trained.
        seed: of all random numbers.
        device: where it is trained.
        state: a file written after each epoch.
        resume: whether training continues from that file; it ends with the same weights as if it
            had never stopped.
        progress: called every twenty steps.

    Returns:
        The network in evaluation mode, on `device`, and what it took.
    """
    # Of every device, since manual_seed seeds them all.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Measured on a CPU: a convolutional step takes 0.5 to 0.9 of the time in this layout.
        model = build().to(device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = recipe.optimizer(model.parameters())
        spent = Spent(0, 0.0)
        if resume and state and state.exists():
            spent = restore(state, model, optimizer)
        started = time.monotonic() - spent.seconds
        images, labels = data.images.to(device), data.labels.to(device)
        if not spent.epochs:
            recipe.start(model, images, labels)
        for epoch in range(spent.epochs, recipe.epochs):
            torch.manual_seed(seed + 1_000_003 * (epoch + 1))
            _one_epoch(model, optimizer, images, labels, recipe, epoch, progress)
            spent = Spent(epoch + 1, time.monotonic() - started)
            if state:
                save(state, model, optimizer, spent)
    return model.eval(), spent


def _one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    epoch: int,
    progress: Progress,
) -> None:
    """One pass over the images."""
    # In a last, smaller batch each image would weigh more: they wait for another epoch.
    batches = recipe.order(labels).split(recipe.batch_size)
    batches = tuple(batch for batch in batches if len(batch) == len(batches[0]))
    total = recipe.epochs * len(batches)
    model.train()
    for index, batch in enumerate(batches):
        step = epoch * len(batches) + index
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(step / total)
        optimizer.zero_grad(set_to_none=True)
        loss = recipe.objective(step / total)(model, images[batch], labels[batch])
        loss.backward()
        optimizer.step()
        if index % 20 == 0 or index == len(batches) - 1:
            progress(step + 1, total, loss.item())


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, spent: Spent) -> None:
    """Write the state of an unfinished run, as safetensors; replaces `path` whole."""
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if value is not None:
                tensors[f"optimizer.{index}.{slot}"] = torch.as_tensor(value)
    with replacing(path) as temporary:
        stored = {name: value.cpu().contiguous() for name, value in tensors.items()}
        save_file(stored, temporary, metadata={k: str(v) for k, v in vars(spent).items()})


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Spent:
    """Load the state of an unfinished run into model and optimizer; nothing is ever unpickled.

    Returns:
        What the run has taken so far.

    Raises:
        ValueError: the file is damaged.
        RuntimeError: it is another network's.
    """
    weights: dict[str, Tensor] = {}
    slots: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            spent = Spent(int(file.metadata()["epochs"]), float(file.metadata()["seconds"]))
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged, delete it to begin again: {error}") from error
    for key, value in state.items():
        kind, _, rest = key.partition(".")
        if kind == "model":
            weights[rest] = value
        else:
            index, _, slot = rest.partition(".")
            slots.setdefault(int(index), {})[slot] = value
    model.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return spent
