"""How far analysis by synthesis holds if one explanation of the true class is held on to.

Against each single explanation of another class the image is then read rightly in a half-space,
and the distance to a half-space's end is known. The form is ours; Schott et al. 2019 bound it from
below by the triangle inequality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from armsrace.contracts import (
    UNIT,
    Bounds,
    check_choice,
    check_classes,
    check_count,
    check_labels,
)
from armsrace.defenses.analysis_by_synthesis import AnalysisBySynthesis
from armsrace.defenses.class_search import Found, evidence
from armsrace.defenses.levenberg_marquardt import LevenbergMarquardt

Norm = Literal["l2", "linf"]
HALVINGS = 40
LONGEST = {"l2": 100.0, "linf": 1.0}
"""The largest multiple of a direction tried: a longer way counts as this long."""


def halfspace_bounds(
    model: AnalysisBySynthesis,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    bounds: Bounds | None = UNIT,
    candidates: int = 2,
    rounds: int = 3,
    search: LevenbergMarquardt | None = None,
) -> Tensor:
    """A lower bound on the distance (N,) to a change of the decision, image by image.

    Args:
        model, images, labels: as for `synthesis_bounds`.
        norm: of the distance, in pixel units.
        bounds: the box that perturbed pixels stay in; None for none, and a smaller bound.
        candidates: explanations of the true class that are held on to in turn: the best one of the
            clean image, then its best one of the point at which the last gave way. Each gives a
            bound; the largest counts.
        rounds: of the search for the other classes' explanations that give way first.
        search: how explanations of the clean image are looked for; by default as for
            `synthesis_bounds`.

    Let the true class y keep G, at the cost L of the clean x. The decision changes at x + δ only if
    some z of another class costs no more there, ‖x + δ − G_c(z)‖² + ‖z‖² / 2 ≤ the same of G. The
    squares of δ cancel: 2 δ · (G_c(z) − G) ≥ ‖x − G_c(z)‖² + ‖z‖² / 2 − L. The bound is the length
    of the shortest such δ in the box, least over c and z. In L2 it is never below the tight form of
    `synthesis_bounds`, since ‖G_c(z) − G‖ is at most the sum of both distances to x.

    The least over z is looked for by turns: the shortest δ for z, then the best z for x + δ. No
    turn raises it, yet it may end in a local one. Like the other forms it rests on that search.
    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> from armsrace.models.class_decoders import ClassDecoders
    >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
    >>> digits = datasets.load("mnist").take(1)
    >>> bool(evaluation.halfspace_bounds(model, digits.images, digits.labels, rounds=1) >= 0)
    True
    """
    check_labels(labels, len(images))
    check_classes(labels, model.generators.classes)
    check_choice("norm", norm, tuple(LONGEST))
    check_count("candidates", candidates)
    check_count("rounds", rounds, 0)
    search = search or LevenbergMarquardt(steps=30, starts=5)
    batches = zip(images.split(model.batch_size), labels.split(model.batch_size), strict=True)
    settings = candidates, rounds, search
    return torch.cat([_Images(model, *batch, norm, bounds).bound(*settings) for batch in batches])


@dataclass(frozen=True)
class _Images:
    model: AnalysisBySynthesis
    images: Tensor
    labels: Tensor
    norm: Norm
    bounds: Bounds | None

    @torch.no_grad()
    def bound(self, candidates: int, rounds: int, search: LevenbergMarquardt) -> Tensor:
        samples, generators = self.model.samples, self.model.generators
        pixels = self.images.flatten(1).to(samples.images.dtype)
        best = search(generators, pixels, samples.best(pixels, search.starts))
        again = LevenbergMarquardt(steps=6, starts=1, radius=search.radius)
        held, others, largest = best, best, torch.zeros_like(pixels[:, 0])
        for _ in range(candidates):
            sizes, moves = self._given_way(pixels, held, others)
            for _ in range(rounds):
                others = again(generators, pixels[:, None] + moves, others.latents[:, None])
                found, moves = self._given_way(pixels, held, others)
                sizes = torch.minimum(sizes, found)
            sizes = sizes.scatter(1, self.labels[:, None], torch.inf)
            largest = torch.maximum(largest, sizes.amin(dim=1))
            first = pixels + self._of(sizes.argmin(dim=1), moves)
            held = again(generators, first, held.latents[:, None])
        return largest

    def _given_way(self, pixels: Tensor, held: Found, others: Found) -> tuple[Tensor, Tensor]:
        """Sizes (N, K) and moves (N, K, P) at which each class's explanation gets the better."""
        costs, costs_held = (
            evidence((each.images - pixels[:, None]).square().sum(2), each.latents.square().sum(2))
            for each in (others, held)
        )
        needed = (costs - self._of(self.labels, costs_held)[:, None]) / 2
        ways = others.images - self._of(self.labels, held.images)[:, None]
        return shortest(ways, needed, pixels[:, None], self.norm, self.bounds)

    @staticmethod
    def _of(classes: Tensor, values: Tensor) -> Tensor:
        """One class's (N, …) of values (N, K, …)."""
        return values[torch.arange(len(classes), device=classes.device), classes]


def shortest(
    ways: Tensor, needed: Tensor, pixels: Tensor, norm: Norm, bounds: Bounds | None
) -> tuple[Tensor, Tensor]:
    """The sizes (N, K) and moves (N, K, P) of the shortest δ with ways · δ ≥ needed.

    pixels: (N, 1, P), which the move keeps in the box. Found by bisection, from below.
    """
    low, high = torch.zeros_like(needed), torch.full_like(needed, LONGEST[norm])
    direction = ways.sign() if norm == "linf" else ways

    def moved(by: Tensor) -> Tensor:
        move = by[..., None] * direction
        return move if bounds is None else bounds.clip(pixels + move) - pixels

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = (ways * moved(middle)).sum(dim=2) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    moves = moved(low)
    return (low if norm == "linf" else moves.norm(dim=2)), moves
