"""Training with a callback: what a network can do after so many steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from armsrace.contracts import check_count
from armsrace.datasets import Dataset
from armsrace.training.loop import fit
from armsrace.training.recipe import Objective, Recipe

Seen = TypeVar("Seen")


def follow(
    build: Callable[[], nn.Module],
    data: Dataset,
    recipe: Recipe,
    look: Callable[[nn.Module], Seen],
    *,
    every: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[nn.Module, list[tuple[int, Seen]]]:
    """Train as `fit` does, and look at the network on the way.

    Args:
        build: as for `fit`, as are data, recipe, seed and device.
        look: called with the network in evaluation mode before the first step, after each `every`
            steps, and at the end. It changes no weight and no random number of the training.
        every: at least 1.

    Returns:
        The network, and for each look the steps taken and what it returned.
    """
    check_count("every", every)
    seen: list[tuple[int, Seen]] = []
    steps = 0

    def look_at(model: nn.Module) -> None:
        with torch.random.fork_rng():
            seen.append((steps, look(model.eval())))

    def watched(progress: float) -> Objective:
        objective = recipe.objective(progress)

        def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            nonlocal steps
            if steps % every == 0:
                look_at(model)
                model.train()
            steps += 1
            return objective(model, images, labels)

        return run

    model, _ = fit(build, data, replace(recipe, objective=watched), seed=seed, device=device)
    look_at(model)
    return model, seen
