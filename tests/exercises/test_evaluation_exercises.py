"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import math

import pytest
import torch

from armsrace import attacks, zoo
from armsrace.exercises import ExerciseError
from armsrace.exercises import evaluation as chapter

CHECKS = [
    chapter.check_unit_budget,
    chapter.check_images_needed,
    chapter.check_straight_through,
    chapter.check_sealed,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def test_unit_budget(capsys) -> None:
    chapter.check_unit_budget(lambda epsilon, low, high: epsilon / (high - low))
    assert "Exercise “One scale”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda e, low, high: e, "width"),
        (lambda e, low, high: (e - low) / (high - low), "position of the range"),
        (lambda e, low, high: e / high if high > 1 else e, "twice as wide"),
    ],
)
def test_unit_budget_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_unit_budget(wrong)


def test_images_needed(capsys) -> None:
    chapter.check_images_needed(lambda p, h: math.ceil(1.96**2 * p * (1 - p) / h**2))
    assert "Exercise “How many images?”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda p, h: 1.96**2 * p * (1 - p) / h**2, "round up"),
        (lambda p, h: int(1.96**2 * p * (1 - p) / h**2), "too few"),
        (lambda p, h: math.ceil(1.96 * p * (1 - p) / h), "solve"),
        (lambda p, h: math.ceil(0.25 * 1.96**2 / h**2), "p approaches 1"),
    ],
)
def test_images_needed_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_images_needed(wrong)


def test_straight_through(capsys) -> None:
    chapter.check_straight_through(lambda q: lambda x: x + (q(x) - x).detach())
    assert "Exercise “Take a mask off”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda q: q, "still zero"),
        (lambda q: lambda x: x, "must be the quantizer"),
        (lambda q: lambda x: q(x).detach(), "depend on the images"),
        (lambda q: lambda x: 2 * x + (q(x) - 2 * x).detach(), "derivative 1"),
        (lambda q: torch.zeros(2), "return a function"),
    ],
)
def test_straight_through_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_straight_through(wrong)


def transfer(names):
    """PGD on the mean log-probability of some networks."""

    def attack(classify, images, labels, epsilon):
        known = [zoo.load(name) for name in names]

        def together(batch):
            return sum(model(batch).log_softmax(dim=1) for model in known)

        return attacks.pgd(together, images, labels, epsilon=epsilon, steps=20).images

    return attack


def test_sealed(capsys) -> None:
    chapter.check_sealed(transfer(("maxout", "softmax", "carlini-wagner")))
    assert "Exercise “A sealed network”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (transfer(("softmax",)), "the bar is 30"),
        (lambda f, x, y, e: [f(x) for _ in range(21)] and x, "the budget is 1200 images"),
        (lambda f, x, y, e: 1 - x, "the budget is 0.2"),
        (lambda f, x, y, e: x - 0.1, "outside"),
    ],
)
def test_sealed_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_sealed(wrong)
