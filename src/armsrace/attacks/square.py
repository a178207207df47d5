"""Square attack: random search with squares of pixels, on scores alone, in L∞ and L2.

Andriushchenko, Croce, Flammarion and Hein 2020, Algorithms 1 to 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks.margins import cross_entropy, margin
from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import Keys, default_generator
from armsrace.attacks.squares import bumps, l2_square, linf_square, side_at, stripes
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_count,
)


def square(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    queries: int = 5000,
    norm: Norm = "linf",
    share: float = 0.8,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """One random square of pixels after another, each kept if the scores say that it helps.

    Args:
        model: images to logits (N, K); never asked for a gradient.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`.
        queries: forward passes an image at most; of these one sees the clean image and one decides
            success, so at least 3.
        norm: "linf" or "l2".
        share: of the pixels that the first squares cover, the paper's p; it shrinks on the paper's
            schedule, scaled to `queries`. The paper takes 0.8 for robust MNIST networks, and 0.05
            (L∞) or 0.1 (L2) for ordinary ImageNet ones.
        targets: (N,) int64 wanted classes: their cross-entropy falls, in place of the margin.
        bounds: the box of valid pixels.
        generator: where the squares come from; a new one seeded 0 by default.

    An image that fools the model is done, as in the paper and unlike our gradient attacks of a
    fixed budget: queries are the cost that counts here. We leave the paper where squares may reach
    the last row and column, and where a misclassified image is returned as it is. Raises
    ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.square(model, digits.images, digits.labels, epsilon=0.3, queries=100)
    >>> found.queries.max() <= 100, found.gradients.sum()
    (tensor(True), tensor(0))
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("queries", queries, 3)
    check_choice("norm", norm, ("linf", "l2"))
    if not 0 < share <= 1:
        raise ValueError(f"share must be > 0 and <= 1, got {share:g}")
    moves = _Moves(norm, epsilon, share, bounds, default_generator(generator))
    with posed(model, images, labels, targets, bounds) as problem:
        return _search(problem, moves, queries)


@dataclass(frozen=True)
class _Moves:
    norm: Norm
    epsilon: float
    share: float
    bounds: Bounds
    generator: torch.Generator

    def first(self, clean: Tensor, keys: Keys) -> Tensor:
        channels, _, width = clean.shape[1:]
        shape, start = (
            ((channels, 1, width), stripes) if self.norm == "linf" else ((channels, 5, 5), bumps)
        )
        return start(clean, self.epsilon, self.bounds, keys.uniform(shape, self.generator))

    def next(self, clean: Tensor, current: Tensor, keys: Keys, progress: float) -> Tensor:
        linf = self.norm == "linf"
        move, least, numbers = (linf_square, 1, 2) if linf else (l2_square, 3, 5)
        draws = keys.uniform((numbers + clean.shape[1],), self.generator)
        side = side_at(progress, self.share, clean, least)
        return move(clean, current, side, self.epsilon, self.bounds, draws)


def _search(problem: Problem, moves: _Moves, queries: int) -> AttackResult:
    loss = margin if problem.targets is None else cross_entropy
    found, asked = problem.images.clone(), torch.ones_like(problem.labels)
    left = (~problem.loss(found, loss)[1]).nonzero()[:, 0]
    part, keys = problem.subset(left), Keys(found)[left]
    current, rounding = part.images, torch.finfo(found.dtype).eps ** 0.75
    scores = torch.full_like(found[left, 0, 0, 0], torch.finfo(found.dtype).min)
    for step in range(queries - 2):
        if len(left) == 0:
            break
        if step == 0:
            candidates = moves.first(part.images, keys)
        else:
            candidates = moves.next(part.images, current, keys, step / (queries - 2))
        reached, fooled = part.loss(candidates, loss)
        asked[left] += 1
        # Squares that no filter sees change a score by rounding alone, and that by batch size.
        better = fooled | (reached > scores + rounding * scores.abs())
        current = torch.where(column(better), candidates, current)
        scores = torch.where(better, reached, scores)
        if fooled.any():
            going, found[left[fooled]] = ~fooled, current[fooled]
            part, keys, left = part.subset(going), keys[going], left[going]
            current, scores = current[going], scores[going]
    found[left] = current
    return problem.finish(found, asked, gradients=0)
