"""The one training loop: deterministic on a CPU for a seed, resumable after any epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from armsrace.training.recipe import Recipe
from armsrace.training.resume import Spent, restore, save

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
    """Train a new network; return it in evaluation mode, on `device`, and what it took.

    data: images (N, C, H, W) and labels (N,), the recipe's selection already made.
    state: a file written after each epoch; with resume=True training goes on from it, and ends
        with the same weights as if it had never stopped.
    Random numbers (initialisation, order, dropout) come from a fork of torch's generators, seeded
    afresh each epoch: nothing outside changes, and a resumed run draws what the first would have.
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
    # A last batch smaller than the others would weigh its images more: it waits for another epoch.
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
