"""Every property for every attack, on real digits and cases that Hypothesis chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from armsrace import attacks

from .cases import Case
from .properties import PROPERTIES, fools
from .specs import SPECS, AttackSpec


@dataclass(frozen=True)
class Draw:
    """What Hypothesis varies: which digits, part of the budget, targets so many classes away."""

    chosen: list[int]
    scale: float
    away: int | None
    seed: int


class Ground:
    """The network and the digits that every case stands on; no dataclass, so failures are short."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.model, self.images, self.labels = model, images, labels

    def case(self, draw: Draw, spec: AttackSpec) -> Case:
        """The case drawn, without targets where the attack takes none."""
        images, labels = self.images[draw.chosen], self.labels[draw.chosen]
        targets = (labels + draw.away) % 10 if draw.away and spec.targeted else None
        return Case(self.model, images, labels, targets, draw.scale, draw.seed)


DRAWS = st.builds(
    Draw,
    chosen=st.lists(st.integers(0, 199), min_size=1, max_size=4, unique=True),
    scale=st.sampled_from([1.0, 0.5, 1e-3, 0.0]) | st.floats(0, 2),
    away=st.none() | st.integers(1, 9),
    seed=st.integers(0, 2**32),
)


@pytest.fixture(scope="module")
def ground(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> Ground:
    return Ground(trained, *digits)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda holds: holds.__name__)
@settings(
    max_examples=20, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(draw=DRAWS)
def test_property(
    holds: Callable[[AttackSpec, Case], None], spec: AttackSpec, draw: Draw, ground: Ground
) -> None:
    holds(spec, ground.case(draw, spec))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_fools_most_digits(spec: AttackSpec, ground: Ground) -> None:
    fools(spec, Case(ground.model, ground.images[:200], ground.labels[:200]))


def test_every_public_attack_has_a_row() -> None:
    assert {spec.attack.__name__ for spec in SPECS} == set(attacks.__all__)
