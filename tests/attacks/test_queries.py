"""No black-box attack asks more than it may, and decisions in any form are answers enough."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks
from armsrace.contracts import AttackResult
from tests.attacks.borrowed import SEEDS, linear
from tests.attacks.cases import Counting

Digits = tuple[Tensor, Tensor]
Attack = Callable[..., AttackResult]
FGSM = partial(attacks.fgsm, epsilon=0.2)

LIMITED: dict[str, tuple[Attack, int]] = {
    "boundary": (attacks.boundary, 3),
    "finite-difference": (partial(attacks.finite_difference, epsilon=0.2, samples=5), 12),
    "gaussian-noise": (attacks.gaussian_noise, 3),
    "hop-skip-jump-l2": (attacks.hop_skip_jump, 3),
    "hop-skip-jump-linf": (partial(attacks.hop_skip_jump, norm="linf"), 3),
    "one-pixel": (partial(attacks.one_pixel, pixels=100, population=20), 3),
    "pointwise-l0": (partial(attacks.pointwise, restarts=3), 10),
    "pointwise-l2": (partial(attacks.pointwise, restarts=3, norm="l2"), 10),
    "rays": (attacks.rays, 3),
    "salt-and-pepper": (attacks.salt_and_pepper, 3),
    "square-l2": (partial(attacks.square, epsilon=0.5, norm="l2"), 3),
    "square-linf": (partial(attacks.square, epsilon=0.02), 3),
    "substitute": (
        partial(attacks.substitute, seeds=SEEDS[:10], build=linear, attack=FGSM, epochs=1), 3
    ),
    "uniform-noise": (attacks.uniform_noise, 3),
}  # fmt: skip
"""Attacks that would ask thousands of times, and the fewest queries that they take."""

MINIMAL = {"boundary", "hop-skip-jump-l2", "hop-skip-jump-linf", "pointwise-l0", "rays"}


def test_every_attack_with_a_limit_is_tested() -> None:
    """The names in LIMITED begin with the attack's, with dashes; a norm may follow."""
    taking = {
        name for name in attacks.__all__
        if "queries" in inspect.signature(getattr(attacks, name)).parameters
    }  # fmt: skip
    tested = {name for name in taking for row in LIMITED if row.startswith(name.replace("_", "-"))}
    assert tested == taking != set()
    assert set(LIMITED) >= MINIMAL
    assert {"pgd", "transfer"}.isdisjoint(taking)


@pytest.fixture
def some(trained: nn.Module, digits: Digits) -> Digits:
    """Six digits that the small network gets right, and one that it does not."""
    with torch.no_grad():
        right = trained(digits[0]).argmax(dim=1) == digits[1]
    chosen = torch.cat([right.nonzero()[:6, 0], (~right).nonzero()[:1, 0]])
    return digits[0][chosen], digits[1][chosen]


@pytest.mark.parametrize("name", LIMITED)
def test_the_limit_holds(name: str, trained: nn.Module, some: Digits) -> None:
    attack, fewest = LIMITED[name]
    for limit in (fewest, 30, 77, 160):
        counting = Counting(trained).eval()
        found = attack(counting, *some, queries=limit)
        assert found.queries.max() <= limit
        assert int(found.queries.sum()) == counting.forwards
        if name in MINIMAL and limit >= 30:
            assert found.success.all()
    with pytest.raises(ValueError, match=f"queries must be >= {fewest}, got {fewest - 1}"):
        attack(trained, *some, queries=fewest - 1)
    with pytest.raises(TypeError, match=r"queries must be an integer, got 20\.5"):
        attack(trained, *some, queries=20.5)


@pytest.mark.parametrize("name", sorted(MINIMAL))
def test_more_queries_come_nearer(name: str, trained: nn.Module, some: Digits) -> None:
    attack, _ = LIMITED[name]
    order = {"hop-skip-jump-linf": torch.inf, "rays": torch.inf, "pointwise-l0": 0}.get(name, 2)

    def distance(limit: int) -> Tensor:
        found = attack(trained, *some, queries=limit)
        return (found.images - some[0]).flatten(1).norm(p=order, dim=1)

    few, more, many = (distance(limit) for limit in (40, 160, 640))
    assert more.mean() < few.mean() and many.mean() < more.mean()


@pytest.mark.parametrize("name", ["hop-skip-jump-l2", "pointwise-l2", "rays", "boundary"])
def test_a_limited_search_ignores_its_batch(name: str, trained: nn.Module, some: Digits) -> None:
    attack, images, labels = LIMITED[name][0], some[0].double(), some[1]
    model = copy.deepcopy(trained).double()
    together = attack(model, images, labels, queries=90)
    for place in (0, 3):
        one = slice(place, place + 1)
        alone = attack(model, images[one], labels[one], queries=90)
        torch.testing.assert_close(alone.images, together.images[one])
        assert torch.equal(alone.queries, together.queries[one])


def _one_hot(logits: Tensor) -> Tensor:
    return functional.one_hot(logits.argmax(dim=1), logits.shape[1])


def _certain(logits: Tensor) -> Tensor:
    """The logarithms of probabilities of 0 and 1."""
    return _one_hot(logits).to(logits).log()


ANSWERS: dict[str, Callable[[Tensor], Tensor]] = {
    "one-hot integers": _one_hot,
    "one-hot booleans": lambda logits: _one_hot(logits).bool(),
    "probabilities": lambda logits: logits.double().softmax(dim=1),
    "logarithms of zero": _certain,
}
DECIDING: dict[str, Attack] = {
    "boundary": partial(attacks.boundary, steps=20),
    "gaussian-noise": partial(attacks.gaussian_noise, repeats=3),
    "hop-skip-jump": partial(attacks.hop_skip_jump, queries=150),
    "pointwise": partial(attacks.pointwise, restarts=1),
    "rays": partial(attacks.rays, queries=100),
    "salt-and-pepper": partial(attacks.salt_and_pepper, repeats=3),
    "substitute": LIMITED["substitute"][0],
    "transfer": partial(attacks.transfer, attack=FGSM),
    "uniform-noise": partial(attacks.uniform_noise, repeats=3),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", DECIDING)
def test_decisions_are_enough(name: str, answer: str, trained: nn.Module, some: Digits) -> None:
    attack = DECIDING[name]
    if name == "transfer":
        attack = partial(attack, source=trained)
    expected = attack(trained, *some)
    found = attack(lambda images: ANSWERS[answer](trained(images)), *some)
    for field in ("images", "success", "queries"):
        assert torch.equal(getattr(found, field), getattr(expected, field)), field


@pytest.mark.parametrize("options", [{"epsilon": 0.1}, {}], ids=["square", "one-pixel"])
def test_scores_must_still_be_logits(
    options: dict[str, Any], trained: nn.Module, some: Digits
) -> None:
    attack = attacks.square if options else attacks.one_pixel
    with pytest.raises(ValueError, match="model must return logits, got probabilities"):
        attack(lambda images: trained(images).softmax(dim=1), *some, **options)


def test_every_attack_with_a_limit_is_held_to_it() -> None:
    limited = {getattr(attack, "func", attack) for attack, _ in LIMITED.values()}
    with_limit = {
        attack
        for attack in (getattr(attacks, name) for name in attacks.__all__)
        if "queries" in inspect.signature(attack).parameters
    }
    assert with_limit - limited == set()
