"""The properties bite: each broken attack is caught by the property that should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor, nn

from armsrace.contracts import AttackResult
from tests.attacks import broken, properties
from tests.attacks.cases import Case
from tests.attacks.specs import AttackSpec

Attack = Callable[..., AttackResult]
Property = Callable[[AttackSpec, Case], None]

BROKEN: tuple[tuple[Attack, Property, str], ...] = (
    (broken.idle, properties.fools, "fooled only"),
    (broken.boastful, properties.reports_success, "but tensor"),
    (broken.spendthrift, properties.keeps_budget, "> 0.2"),
    (broken.unclipped, properties.keeps_box, "-0.2"),
    (broken.in_place, properties.leaves_no_trace, "input edited"),
    (broken.aliasing, properties.leaves_no_trace, "the result is the input"),
    (broken.sociable, properties.ignores_batch_mates, "not close"),
    (broken.chancy, properties.repeats, "two runs differ"),
    (broken.chancy, properties.leaves_no_trace, "global generator changed"),
    (broken.deaf, properties.heeds_its_seed, "the seed changes nothing"),
    (broken.sleepy, properties.leaves_no_trace, "mode of .* changed"),
    (broken.littering, properties.leaves_no_trace, "gradient of .* changed"),
    (broken.training, properties.leaves_no_trace, "state 1.running_mean changed"),
    (broken.miscounting, properties.counts_passes, "forward"),
    (broken.untargeted, properties.reports_success, "but tensor"),
    (broken.boxed_in, properties.follows_the_box, "left the shifted box"),
    (broken.picky, properties.takes_any_callable, "a function gives other images"),
    (broken.downhill, properties.fools, "fooled only"),
    (broken.restless, properties.does_nothing_for_nothing, "moved without a budget"),
)


@pytest.fixture
def case(model: nn.Module, digits: tuple[Tensor, Tensor]) -> Case:
    return Case(model, digits[0][:20], digits[1][:20])


def _named(value: Any) -> str | None:
    return value.__name__ if callable(value) else ""


@pytest.mark.parametrize(("attack", "catches", "complaint"), BROKEN, ids=_named)
def test_broken_attack_is_caught(
    attack: Attack, catches: Property, complaint: str, case: Case
) -> None:
    spec = AttackSpec(attack.__name__, attack, random=attack is broken.deaf)
    if attack is broken.untargeted:
        case = replace(case, targets=(case.labels + 1) % 10)
    with pytest.raises(AssertionError, match=complaint):
        catches(spec, case)


@pytest.mark.parametrize("holds", [*properties.PROPERTIES, properties.fools], ids=_named)
def test_honest_attack_passes(holds: Property, case: Case) -> None:
    holds(AttackSpec("honest", broken.honest), case)
