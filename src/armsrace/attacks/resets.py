"""Back towards the clean image, pixel by pixel, while the model stays fooled: decisions alone.

Rows (M, C, H, W) are searched together; each is adversarial and stays so. A unit is what moves at
once: a pixel with its channels where the order is (M, 1, H, W), one value where it is (M, C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem

FIRST = 8
"""Units in the first block: later ones are as long as the row allows."""

LEAST, HALVINGS = 1 / 64, 6
"""The shortest move of a value, as a fraction of its way to the clean one, and bisections."""

Draw = Callable[[], Tensor]
"""Random numbers (M, 1 or C, H, W) in [0, 1), new ones at each call."""


def reset(problem: Problem, rows: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Rows of which no single unit can be clean again, and the queries (M,) that it took.

    The first pass asks for blocks of units, each later one for a unit alone, until a whole pass
    has reset nothing.
    """
    rows, queries = rows.clone(), torch.zeros_like(problem.labels)
    left, block = torch.arange(len(rows), device=rows.device), FIRST
    while len(left) > 0:
        part = problem.subset(left)
        order, counts = _shuffled(rows[left] != part.images, draw()[left])
        rows[left], moved, asked = _pass(part, rows[left], order, counts, block)
        queries[left] += asked
        left, block = left[moved], 1
    return rows, queries


def shorten(problem: Problem, rows: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Rows of which no unit can go 1/64 of its way to the clean one; and the queries (M,)."""
    rows, queries = rows.clone(), torch.zeros_like(problem.labels)
    left = torch.arange(len(rows), device=rows.device)
    while len(left) > 0:
        part = problem.subset(left)
        order, counts = _shuffled(rows[left] != part.images, draw()[left])
        moved = torch.zeros_like(counts, dtype=torch.bool)
        for place in range(int(counts.max())):
            some = (counts > place).nonzero()[:, 0]
            here = order[some] == place
            rows[left[some]], further, asked = _bisected(part.subset(some), rows[left[some]], here)
            queries[left[some]] += asked
            moved[some] |= further
        left = left[moved]
    return rows, queries


def _shuffled(differs: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The place of each unit that differs in a random order, and how many there are (M,)."""
    if numbers.shape[1] == 1:
        differs = differs.any(dim=1, keepdim=True)
    last = numbers.masked_fill(~differs, 1.0).flatten(1).argsort(dim=1, stable=True)
    places = last.argsort(dim=1).to(torch.int32)  # half the memory to compare in each query
    return places.view_as(numbers), differs.flatten(1).sum(dim=1)


def _pass(
    problem: Problem, rows: Tensor, order: Tensor, counts: Tensor, block: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every unit in its order, reset where that still fools; whether any was; and queries.

    A block that cannot be reset whole is halved until the first unit that must stay is found:
    what is before it in the block has been reset then, so that the block as it stands was asked.
    """
    at, end, queries = (torch.zeros_like(counts) for _ in range(3))
    sizes, moved = torch.full_like(counts, block), torch.zeros_like(counts, dtype=torch.bool)
    left = counts.nonzero()[:, 0]
    while len(left) > 0:
        start, stop, size = at[left], end[left], sizes[left]
        halving = stop > start
        length = torch.where(halving, (stop - start) // 2, size.minimum(counts[left] - start))
        chosen = (order[left] >= column(start)) & (order[left] < column(start + length))
        part = problem.subset(left)
        trial = torch.where(chosen, part.images, rows[left])
        fooled = part.fooled(part.logits(trial))
        queries[left] += 1
        rows[left[fooled]], moved[left] = trial[fooled], moved[left] | fooled
        # Blocks grow while they can be reset and shrink where they cannot: half of the answers
        # are then yes, and each tells most.
        grown = torch.where(fooled, 2 * size, (size // 2).clamp_min(1))
        sizes[left] = torch.where(halving, size, grown)
        stop = torch.where(fooled, stop, start + length)
        start = torch.where(fooled, start + length, start)
        # A block of one that cannot be reset: the unit stays.
        at[left], end[left] = torch.where(stop - start == 1, stop, start), stop
        left = left[at[left] < counts[left]]
    return rows, moved, queries


def _bisected(problem: Problem, rows: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The chosen unit of each row as near to the clean one as fools; whether nearer; queries."""
    near, way = rows.clone(), torch.where(chosen, problem.images - rows, 0.0)
    reached = torch.zeros_like(problem.labels, dtype=rows.dtype)
    tried, queries = torch.full_like(reached, LEAST), torch.zeros_like(problem.labels)
    step, left = (1 - LEAST) / 2, torch.arange(len(rows), device=rows.device)
    for _ in range(1 + HALVINGS):
        part = problem.subset(left)
        trial = problem.bounds.clip(rows[left] + column(tried[left]) * way[left])
        fooled = part.fooled(part.logits(trial))
        queries[left] += 1
        near[left[fooled]], reached[left[fooled]] = trial[fooled], tried[left[fooled]]
        left = left[reached[left] > 0]
        if len(left) == 0:
            break
        tried[left], step = reached[left] + step, step / 2
    return near, reached > 0, queries
