"""The random step of the boundary attack (Brendel et al. 2018, §2.2 and §2.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from armsrace.attacks.norms import column, distances
from armsrace.attacks.problem import Problem
from armsrace.attacks.randomness import Keys

# The share of tries that shall stay adversarial, and how far one success or failure moves the
# logarithm of a size. Checks of the sphere are ten times rarer, so each counts for more.
SPHERE_RATE, SPHERE_GAIN = 0.4, 0.3
SOURCE_RATE, SOURCE_GAIN = 0.2, 0.05


@dataclass(frozen=True)
class Walk:
    """Images (N, C, H, W) on their way from adversarial starts to the clean ones.

    current: the nearest adversarial images so far; around and towards: the sizes (N,) of a step on
    the sphere around the clean image and of one towards it, as shares of the distance.
    """

    problem: Problem
    keys: Keys
    current: Tensor
    around: Tensor
    towards: Tensor

    def subset(self, kept: Tensor) -> Walk:
        """The walk of the images chosen by a bool mask (M,)."""
        return Walk(
            self.problem.subset(kept), self.keys[kept], self.current[kept], self.around[kept],
            self.towards[kept],
        )  # fmt: skip

    def step(self, generator: torch.Generator, checked: bool) -> Walk:
        """One candidate an image, taken where it is adversarial and nearer; the sizes follow.

        A query, and one more if the sphere is `checked` without the step towards the image.
        """
        problem, source = self.problem, self.problem.images - self.current
        away = distances(source, "l2")
        sphere = problem.bounds.clip(problem.images + self._turned(source, away, generator))
        candidates = problem.bounds.clip(self._approached(sphere, away))
        fooled = problem.fooled(problem.logits(candidates))
        # Rounding and the box may leave a candidate as far away as the image was.
        nearer = fooled & (distances(problem.images - candidates, "l2") < away)
        current = torch.where(column(nearer), candidates, self.current)
        towards = self.towards * (SOURCE_GAIN * (fooled.to(away) - SOURCE_RATE)).exp()
        around = self.around
        if checked:
            stays = problem.fooled(problem.logits(sphere)).to(away)
            around = around * (SPHERE_GAIN * (stays - SPHERE_RATE)).exp()
        return replace(
            self, current=current, around=around.clamp_max(1), towards=towards.clamp_max(1)
        )

    def _turned(self, source: Tensor, away: Tensor, generator: torch.Generator) -> Tensor:
        """The perturbation, turned by a random angle: on the same sphere around the image."""
        draws = self.keys.normal(source.shape[1:], generator)
        share = (draws * source).flatten(1).sum(dim=1) / away.square()
        aside = draws - column(share) * source
        smallest = torch.finfo(away.dtype).tiny
        length = self.around * away / distances(aside, "l2").clamp_min(smallest)
        return (column(length) * aside - source) / column((1 + self.around.square()).sqrt())

    def _approached(self, sphere: Tensor, away: Tensor) -> Tensor:
        """The sphere's point moved towards the image, and for what the box took from it."""
        way = self.problem.images - sphere
        length = distances(way, "l2")
        wanted = (1 - self.towards) * away
        return sphere + column((1 - wanted / length).clamp_min(0)) * way
