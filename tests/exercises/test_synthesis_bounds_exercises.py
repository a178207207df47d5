"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.exercises import ExerciseError
from armsrace.exercises import synthesis_bounds as chapter

CHECKS = [chapter.check_closed, chapter.check_floor, chapter.check_bisection]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def ratios(costs, residual, label):
    """The closed form for each class."""
    return (costs - costs[label]) / (2 * (costs.sqrt() + residual))


def closed(costs, residual, label):
    """The right answer to 18.1."""
    others = ratios(costs, residual, label)[torch.arange(len(costs)) != label]
    return others.min().clamp_min(0)


def unclamped(costs, residual, label):
    """Below 0 for an image that is misclassified."""
    return ratios(costs, residual, label)[torch.arange(len(costs)) != label].min()


def floor(distances, prices, epsilon):
    """The right answer to 18.2."""
    return ((distances - epsilon).clamp_min(0) ** 2 + prices).min()


def largest(certified, high, halvings):
    """The right answer to 18.3."""
    low = 0.0
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if certified(middle) else (low, middle)
    return low


def upper(certified, high, halvings):
    """The end that is not certified."""
    low = 0.0
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if certified(middle) else (low, middle)
    return high


RIGHT = {
    "The closed bound": (chapter.check_closed, closed),
    "The floor behind the tight form": (chapter.check_floor, floor),
    "Where they meet": (chapter.check_bisection, largest),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, capsys) -> None:
    check, answer = RIGHT[name]
    check(answer)
    assert f"Exercise “{name}”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (chapter.check_closed, lambda c, r, y: ratios(c, r, y).min(), "leave it out"),
        (chapter.check_closed, lambda c, r, y: ratios(c, r, y).max(), "not the maximum"),
        (chapter.check_closed, lambda c, r, y: 2 * closed(c, r, y), "minimum over c"),
        (chapter.check_closed, unclamped, "misclassified image"),
        (chapter.check_floor, lambda d, k, e: ((d - e) ** 2 + k).min(), "and not less"),
        (chapter.check_floor, lambda d, k, e: (d - e).clamp_min(0).square().min(), "the floor is"),
        (chapter.check_bisection, upper, "return the lower end"),
        (chapter.check_bisection, lambda c, h, n: 0.0, "steps from 1"),
        (chapter.check_bisection, lambda c, h, n: largest(c, h, 3 * n), "one evaluation"),
    ],
)
def test_hints(check, wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(wrong)
