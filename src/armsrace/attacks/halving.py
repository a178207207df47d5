"""Steps of gradient ascent that halve themselves where they no longer gain.

Croce and Hein 2020, Algorithm 1 and §3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.margins import Loss
from armsrace.attacks.norms import column, project, steepest
from armsrace.attacks.problem import Problem
from armsrace.contracts import Norm

SHARE = 0.75
"""Of the steps since the last check that must have gained, or the step is halved (ρ)."""
INERTIA = 0.75
"""The weight of a new step beside the one before it (α)."""


def climb(
    problem: Problem, start: Tensor, epsilon: float, steps: int, norm: Norm, loss: Loss
) -> Tensor:
    """The best iterate (N, C, H, W) of `steps` steps from start."""
    state = State(problem, start, loss, epsilon)
    last = 0
    for step in range(steps):
        state.move(epsilon, norm, 1.0 if step == 0 else INERTIA)
        if step + 1 in checkpoints(steps):
            state.check(step + 1 - last)
            last = step + 1
    return state.found


def checkpoints(steps: int) -> set[int]:
    """After which steps progress is checked: 22 % of them, then ever sooner, 6 % at the least."""
    window, least, shorter = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    places, place = set(), 0
    while (place := place + window) <= steps:
        places.add(place)
        window = max(window - shorter, least)
    return places


class State:
    """Where each image stands, what its best point was, and how long its steps are."""

    def __init__(self, problem: Problem, start: Tensor, loss: Loss, epsilon: float) -> None:
        self.problem, self.loss = problem, loss
        self.current = self.before = self.best = self.found = start
        self.gradient, self.value, self.fooled = self._ascent(start)
        self.best_gradient, self.highest, self.shown = self.gradient, self.value, self.value
        self.checked = self.value
        self.gained = torch.zeros_like(problem.labels)
        self.size = torch.full_like(self.value, 2 * epsilon)
        # Nothing was halved at a check before the first, yet no gain by then halves at once.
        self.halved = torch.ones_like(self.fooled)

    def _ascent(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Direction, loss and whether it fools, in one pass each way."""
        seen: list[Tensor] = []

        def noted(logits: Tensor, classes: Tensor) -> Tensor:
            seen.append(self.problem.fooled(logits.detach()))
            return self.loss(logits, classes)

        gradient, value = self.problem.ascent(images, noted)
        return gradient, value, seen[0]

    def move(self, epsilon: float, norm: Norm, weight: float) -> None:
        """One step with momentum, and what is found there."""
        clean, bounds = self.problem.images, self.problem.bounds

        def within(images: Tensor) -> Tensor:
            return bounds.clip(clean + project(images - clean, norm, epsilon))

        step = column(self.size) * steepest(self.gradient, norm, self.current, bounds)
        ahead = within(self.current + step)
        drift = (ahead - self.current) * weight + (self.current - self.before) * (1 - weight)
        self.current, self.before = within(self.current + drift), self.current
        self.gradient, value, fooled = self._ascent(self.current)
        self.gained += value > self.value
        self.value = value
        # A fooling point beats one that does not fool; among equals the greater loss does.
        better = (fooled & ~self.fooled) | ((fooled == self.fooled) & (value > self.shown))
        self.found = torch.where(column(better), self.current, self.found)
        self.shown, self.fooled = torch.where(better, value, self.shown), self.fooled | fooled
        higher = value > self.highest
        self.best = torch.where(column(higher), self.current, self.best)
        self.best_gradient = torch.where(column(higher), self.gradient, self.best_gradient)
        self.highest = torch.where(higher, value, self.highest)

    def check(self, taken: int) -> None:
        """Halve the step, and go back to the best point, where the last steps gained too little."""
        stuck = ~self.halved & (self.checked >= self.highest)
        self.halved = (self.gained <= SHARE * taken) | stuck
        self.checked, self.gained = self.highest, torch.zeros_like(self.gained)
        self.size = torch.where(self.halved, self.size / 2, self.size)
        self.current = torch.where(column(self.halved), self.best, self.current)
        self.gradient = torch.where(column(self.halved), self.best_gradient, self.gradient)
