"""Every property for every attack, on real digits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch import Tensor, nn

from armsrace import attacks
from tests.attacks.cases import Case
from tests.attacks.properties import PROPERTIES, fools
from tests.attacks.specs import SPECS, AttackSpec


@dataclass(frozen=True)
class Draw:
    """Which digits, what part of the budget, targets so many classes away or None, and the seed."""

    chosen: list[int]
    scale: float
    away: int | None
    seed: int


QUICK = 2
"""The draws from this one on are run by `make slow`."""
DRAWS = (
    Draw([31, 7, 112, 58], scale=1.0, away=None, seed=1),
    Draw([150, 3, 77, 124], scale=0.5, away=3, seed=2),
    Draw([0], scale=1.0, away=None, seed=0),
    Draw([64, 199, 18], scale=1e-3, away=None, seed=3),
    Draw([9, 141], scale=0.0, away=5, seed=4),
    Draw([88, 160, 45], scale=1.6, away=8, seed=5),
    Draw([26, 171, 103, 12], scale=0.15, away=None, seed=637693),
    Draw([180, 133], scale=1.2, away=1, seed=2**32),
)
"""One digit and several, each part of a budget and more than it, with targets and without."""
CASES = [pytest.param(draw, id=str(number), marks=pytest.mark.slow if number >= QUICK else ())
         for number, draw in enumerate(DRAWS)]  # fmt: skip


class Ground:
    """The network and the digits that every case stands on; no dataclass, so failures are short."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.model, self.images, self.labels = model, images, labels

    def case(self, draw: Draw, spec: AttackSpec) -> Case:
        """The case drawn, without targets where the attack takes none."""
        images, labels = self.images[draw.chosen], self.labels[draw.chosen]
        targets = (labels + draw.away) % 10 if draw.away and spec.targeted else None
        return Case(self.model, images, labels, targets, draw.scale, draw.seed)


@pytest.fixture(scope="module")
def ground(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> Ground:
    return Ground(trained, *digits)


@pytest.mark.parametrize("draw", CASES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_properties(spec: AttackSpec, draw: Draw, ground: Ground) -> None:
    case = ground.case(draw, spec)
    for holds in PROPERTIES:
        holds(spec, case)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_fools_most_digits(spec: AttackSpec, ground: Ground) -> None:
    fools(spec, Case(ground.model, ground.images[:100], ground.labels[:100]))


def test_every_public_attack_has_a_row() -> None:
    assert {spec.attack.__name__ for spec in SPECS} == set(attacks.__all__)
