"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import numpy as np
import pytest

from armsrace.evaluation import arena
from armsrace.evaluation.arena import rankings
from armsrace.exercises import ExerciseError
from armsrace.exercises import arena as chapter

CHECKS = [
    chapter.check_union,
    chapter.check_median,
    chapter.check_arsenal,
    chapter.check_five,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def each(sizes, budgets):
    """(norms, N): beaten in each norm."""
    return np.stack([(sizes[norm] <= budgets[norm]).any(axis=0) for norm in sizes])


def test_union(capsys) -> None:
    chapter.check_union(lambda sizes, budgets: 1 - each(sizes, budgets).any(axis=0).mean())
    assert "Exercise “Robust to all”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda s, b: (~each(s, b).any(axis=0)).sum(), "return a fraction"),
        (lambda s, b: 1 - each(s, b)[0].mean(), "one norm"),
        (lambda s, b: each(s, b).mean() * 0, "your fraction is 0.00"),
        (lambda s, b: 1 - np.any([(s[n] < b[n]).any(0) for n in s], 0).mean(), "is allowed"),
    ],
)
def test_union_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_union(wrong)


def middle(sizes):
    """The middle of the sorted, for an odd count."""
    return np.sort(sizes.min(axis=0))[sizes.shape[1] // 2]


def test_median(capsys) -> None:
    chapter.check_median(middle)
    assert "Exercise “A median with failures”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda sizes: np.nan, "is NaN"),
        (lambda sizes: np.median(sizes.min(0)[np.isfinite(sizes.min(0))]), "infinitely far"),
        (lambda sizes: sizes.max(), "the median is 3"),
        (lambda sizes: min(middle(sizes), 3.0), "is infinite"),
    ],
)
def test_median_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_median(wrong)


def greedy(beaten):
    """Take the best until nothing is added."""
    left, taken = np.ones(7, dtype=bool), []
    while max((row & left).sum() for row in beaten.values()):
        name = max(beaten, key=lambda n: (beaten[n] & left).sum())
        taken.append(name)
        left = left & ~beaten[name]
    return taken


def test_arsenal(capsys) -> None:
    chapter.check_arsenal(greedy)
    assert "Exercise “A small arsenal”: right" in capsys.readouterr().out


def spoils(beaten):
    """Writes into what it was given."""
    for row in beaten.values():
        row[:] = False
    return []


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda beaten: ["none such"], "names of attacks"),
        (spoils, "do not change the given arrays"),
        (lambda beaten: ["first"], "not broken by any of yours"),
        (lambda beaten: list(beaten), "stop when no attack adds"),
        (lambda beaten: ["third", "fifth"], "first of a tie"),
    ],
)
def test_arsenal_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_arsenal(wrong)


def remaining(beaten, names):
    """How many digits these attacks leave."""
    return int((~np.any([beaten[name] for name in names], axis=0)).sum())


def greedy_five(beaten):
    """Each takes most of what is left."""
    names = []
    for _ in range(5):
        names.append(min(beaten, key=lambda name: remaining(beaten, [*names, name])))
    return names


def exchanged_five(beaten):
    """From there, exchange one of the five as long as this helps."""
    names, before = greedy_five(beaten), None
    while names != before:
        before = list(names)
        for place in range(5):
            others = names[:place] + names[place + 1 :]
            names[place] = min(
                (name for name in beaten if name not in others),
                key=lambda name: remaining(beaten, [*others, name]),
            )
    return names


def test_five(capsys) -> None:
    chapter.check_five(exchanged_five)
    assert "Exercise “Five attacks”: right" in capsys.readouterr().out


def test_beaten_digits_are_those_of_the_table() -> None:
    """The union over all attacks is the arena's, defense by defense."""
    outcomes = rankings.complete(arena.read())
    union = rankings.standings(outcomes)["union"]
    left = 1 - np.any(list(chapter.beaten_digits().values()), axis=0).mean()
    assert np.isclose(left, union.mean())


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (greedy_five, "be lower"),
        (lambda beaten: list(beaten)[:4], "five different"),
        (lambda beaten: [*list(beaten)[:4], "none"], "names of attacks"),
        (lambda beaten: 5, "names of attacks"),
    ],
)
def test_five_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_five(wrong)
