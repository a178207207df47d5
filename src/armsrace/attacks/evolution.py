"""Differential evolution (Storn and Price 1997), one population an image, all images at once.

A population is genes (N, P, …) and their fitness (N, P), greater being better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from armsrace.attacks.randomness import Keys
from armsrace.contracts import check_at_least, check_choice, check_count


@dataclass(frozen=True)
class Evolution:
    """Members a population, generations at most, what a child starts from, and the range of F."""

    population: int
    generations: int
    base: Literal["random", "best"]
    mutation: tuple[float, float]

    def check(self) -> None:
        """Raise ValueError or TypeError naming the setting and the rule that it breaks."""
        check_choice("base", self.base, ("random", "best"))
        # A child needs so many parents, and no two of them may be the same.
        check_count("population", self.population, 4 if self.base == "random" else 3)
        check_count("generations", self.generations, 0)
        low, high = self.mutation
        check_at_least("mutation", low, 0)
        if high < low:
            raise ValueError(f"mutation must be an interval (low, high), got ({low}, {high})")

    def children(
        self, genes: Tensor, fitness: Tensor, keys: Keys, generator: torch.Generator
    ) -> Tensor:
        """One child a member (N, P, …): a base plus F times the difference of two other members.

        F is drawn uniformly once an image. There is no crossover: a child has no gene of the
        member whose place it is to take.
        """
        low, high = self.mutation
        shape = (1,) * (genes.ndim - 1)
        factor = low + (high - low) * keys.uniform(shape, generator)
        count = 3 if self.base == "random" else 2
        one, other, *third = partners(genes.shape[1], count, keys, generator)
        base = third[0] if third else fitness.argmax(dim=1, keepdim=True)
        return _members(genes, base) + factor * (_members(genes, one) - _members(genes, other))


def partners(population: int, count: int, keys: Keys, generator: torch.Generator) -> list[Tensor]:
    """`count` indices (N, P) a member, distinct and none its own, each such choice as likely."""
    numbers = keys.uniform((population, count), generator)
    taken = torch.arange(population, device=numbers.device).expand(len(numbers), -1)[..., None]
    for number in numbers.unbind(dim=2):
        # One of the free places, counted past each taken one that lies before it.
        place = (number * (population - taken.shape[2])).long()
        for used in taken.sort(dim=2).values.unbind(dim=2):
            place = place + (place >= used).long()
        taken = torch.cat([taken, place[..., None]], dim=2)
    return list(taken.unbind(dim=2)[1:])


def _members(genes: Tensor, indices: Tensor) -> Tensor:
    return genes[torch.arange(len(genes), device=genes.device)[:, None], indices]
