"""The properties bite: each of these broken attacks is caught by the property that should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.attacks.problem import posed
from armsrace.contracts import UNIT, AttackResult, Bounds, Model

from . import properties
from .properties import Case
from .specs import AttackSpec

Attack = Callable[..., AttackResult]
Property = Callable[[AttackSpec, Case], None]


def honest(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, bounds: Bounds = UNIT
) -> AttackResult:
    """FGSM without a fault: no property objects."""
    with posed(model, images, labels, None, bounds) as problem:
        gradient, _ = problem.ascent(problem.images)
        return problem.finish(bounds.clip(problem.images + epsilon * gradient.sign()), 1, 1)


def idle(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=0.0)


def boastful(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    result = honest(model, images, labels, epsilon=0.0)
    return replace(result, success=torch.ones_like(result.success))


def spendthrift(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=1.01 * epsilon)


def unclipped(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    with posed(model, images, labels, None, UNIT) as problem:
        gradient, _ = problem.ascent(problem.images)
        return problem.finish(problem.images + epsilon * gradient.sign(), 1, 1)


def in_place(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    result = honest(model, images, labels, epsilon=epsilon)
    images.data.copy_(result.images)
    return result


def aliasing(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return replace(honest(model, images, labels, epsilon=epsilon), images=images.detach())


def sociable(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    with posed(model, images, labels, None, UNIT) as problem:
        gradient, _ = problem.ascent(problem.images)
        step = epsilon * gradient / gradient.abs().max()
        return problem.finish(UNIT.clip(problem.images + step), 1, 1)


def chancy(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    start = UNIT.clip(images.detach() + epsilon * (torch.rand_like(images) - 0.5))
    return honest(model, start, labels, epsilon=epsilon / 2)


def deaf(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, generator: torch.Generator
) -> AttackResult:
    return honest(model, images, labels, epsilon=epsilon)


def sleepy(model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model.eval(), images, labels, epsilon=epsilon)


def littering(model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    with posed(model, images, labels, None, UNIT) as problem:
        functional.cross_entropy(problem.logits(problem.images), labels).backward()
    return honest(model, images, labels, epsilon=epsilon)


def training(model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    modes = {part: part.training for part in model.modules()}
    model.train()(images)
    for part, mode in modes.items():
        part.training = mode
    return honest(model, images, labels, epsilon=epsilon)


def miscounting(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    result = honest(model, images, labels, epsilon=epsilon)
    return replace(result, queries=result.gradients)


def untargeted(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, targets: Tensor
) -> AttackResult:
    return honest(model, images, labels, epsilon=epsilon)


def boxed_in(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, bounds: Bounds
) -> AttackResult:
    result = honest(model, images, labels, epsilon=epsilon, bounds=bounds)
    return replace(result, images=UNIT.clip(result.images))


def picky(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    own = isinstance(model, nn.Module)
    return honest(model, images, labels, epsilon=epsilon if own else 0.0)


def downhill(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=-epsilon)


def restless(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=epsilon + 0.001)


BROKEN: tuple[tuple[Attack, Property, str], ...] = (
    (idle, properties.fools, "fooled only"),
    (boastful, properties.reports_success, "but tensor"),
    (spendthrift, properties.keeps_budget, "> 0.2"),
    (unclipped, properties.keeps_box, "-0.2"),
    (in_place, properties.leaves_no_trace, "input edited"),
    (aliasing, properties.leaves_no_trace, "the result is the input"),
    (sociable, properties.ignores_batch_mates, "not close"),
    (chancy, properties.repeats, "two runs differ"),
    (chancy, properties.leaves_no_trace, "global generator changed"),
    (deaf, properties.heeds_its_seed, "the seed changes nothing"),
    (sleepy, properties.leaves_no_trace, "mode of .* changed"),
    (littering, properties.leaves_no_trace, "gradient of .* changed"),
    (training, properties.leaves_no_trace, "state 1.running_mean changed"),
    (miscounting, properties.counts_passes, "forward"),
    (untargeted, properties.reports_success, "but tensor"),
    (boxed_in, properties.follows_the_box, "left the shifted box"),
    (picky, properties.takes_any_callable, "a function gives other images"),
    (downhill, properties.fools, "fooled only"),
    (restless, properties.does_nothing_for_nothing, "moved without a budget"),
)


@pytest.fixture
def case(model: nn.Module, digits: tuple[Tensor, Tensor]) -> Case:
    return Case(model, digits[0][:20], digits[1][:20])


def _named(value: Any) -> str | None:
    return value.__name__ if callable(value) else ""


@pytest.mark.parametrize("attack, catches, complaint", BROKEN, ids=_named)
def test_broken_attack_is_caught(
    attack: Attack, catches: Property, complaint: str, case: Case
) -> None:
    spec = AttackSpec(attack.__name__, attack, random=attack is deaf)
    if attack is untargeted:
        case = replace(case, targets=(case.labels + 1) % 10)
    with pytest.raises(AssertionError, match=complaint):
        catches(spec, case)


@pytest.mark.parametrize("holds", (*properties.PROPERTIES, properties.fools), ids=_named)
def test_honest_attack_passes(holds: Property, case: Case) -> None:
    holds(AttackSpec("honest", honest), case)
