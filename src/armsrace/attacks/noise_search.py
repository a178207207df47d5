"""The least level at which a kind of noise fools a model, over many draws of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from armsrace.attacks.norms import distances
from armsrace.attacks.problem import Problem
from armsrace.attacks.randomness import Keys, default_generator
from armsrace.contracts import AttackResult, Norm, check_count

BELOW = 0.98
"""A new draw is tried at this fraction of the best level so far."""


@dataclass(frozen=True)
class Noise:
    """A kind of noise, in two steps, so that one draw can be made weaker and stronger.

    draw: keys of N images, the shape (C, H, W) of one, and a generator to one draw each, (N, …).
    add: images (N, C, H, W), their draws, and levels (N, 1, 1, 1) in [0, 1] to noisy images. A
        higher level takes no pixel nearer to the clean image.
    """

    draw: Callable[[Keys, Sequence[int], Generator], Tensor]
    add: Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Effort:
    """Draws an image, levels of the grid that the first ones climb, halvings after a success."""

    repeats: int
    levels: int
    binary_search_steps: int

    def check(self) -> None:
        """Raise ValueError or TypeError naming the setting and the rule that it breaks."""
        check_count("repeats", self.repeats)
        check_count("levels", self.levels)
        check_count("binary_search_steps", self.binary_search_steps, 0)


@torch.no_grad()
def nearest(
    problem: Problem, noise: Noise, norm: Norm, effort: Effort, generator: Generator | None
) -> AttackResult:
    """The nearest noisy image (in the norm) that fools, one an image.

    Draw after draw climbs a grid of levels; after the first that fools, each is tried just below
    the best level so far. A draw that fools is made weaker, by bisection, until it hardly does.
    """
    effort.check()
    search, generator = _Search(problem, noise, norm), default_generator(generator)
    for repeat in range(effort.repeats):
        draws = noise.draw(search.keys, problem.images.shape[1:], generator)
        search.along(draws, (repeat % effort.levels + 1) / effort.levels, effort)
    none = torch.zeros_like(search.queries)
    return problem.finish_nearest(search.found, search.queries, none)


class _Search:
    """The nearest images found so far, their levels and distances, and what they have cost."""

    def __init__(self, problem: Problem, noise: Noise, norm: Norm) -> None:
        self._problem, self._add, self._norm = problem, noise.add, norm
        self.found, self.keys = problem.images.clone(), Keys(problem.images)
        self.queries = torch.ones_like(problem.labels)
        already = problem.fooled(problem.logits(problem.images))
        self._distance = torch.where(already, 0.0, torch.inf).to(self.found.dtype)
        self._level = torch.full_like(self._distance, torch.inf)

    def along(self, draws: Tensor, first: float, effort: Effort) -> None:
        """Try one draw an image, at the level `first` where none has fooled yet."""
        levels = torch.where(self._level.isinf(), first, BELOW * self._level)
        left = (self._distance > 0).nonzero()[:, 0]
        left = left[self._fools(draws, levels, left)]
        width = levels.clone()
        for _ in range(effort.binary_search_steps):
            width /= 2
            levels -= width
            levels[left] += width[left] * ~self._fools(draws, levels, left)

    def _fools(self, draws: Tensor, levels: Tensor, left: Tensor) -> Tensor:
        """Whether the images left fool at their levels, and are nearer than what did before.

        Only those that are nearer are shown to the model.
        """
        clean, level = self._problem.images[left], levels[left].view(-1, 1, 1, 1)
        noisy = self._add(clean, draws[left], level)
        sizes = distances(noisy - clean, self._norm)
        fools = sizes < self._distance[left]
        rows = left[fools]
        if len(rows) > 0:
            part = self._problem.subset(rows)
            self.queries[rows] += 1
            fools[fools.clone()] = part.fooled(part.logits(noisy[fools]))
            rows = left[fools]
            self.found[rows], self._distance[rows] = noisy[fools], sizes[fools]
            self._level[rows] = levels[rows]
        return fools
