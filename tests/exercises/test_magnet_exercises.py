"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.defenses import jensen_shannon
from armsrace.exercises import ExerciseError
from armsrace.exercises import magnet as chapter

CHECKS = [chapter.check_count, chapter.check_divergence, chapter.check_expected]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def shares(first, second):
    """Two masks to two shares."""
    return first.float().mean(), second.float().mean()


def test_count(capsys) -> None:
    chapter.check_count(lambda k, r, y: shares((k == y) & ~r, (k == y) | r))
    assert "Exercise “What counts”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda k, r, y: (k == y).float().mean()[None], "two numbers"),
        (lambda k, r, y: (2, 4), "not counts"),
        (lambda k, r, y: shares(k == y, (k == y) | r), "counts as an error"),
        (lambda k, r, y: shares(~r, (k == y) | r), "counts as an error"),
        (lambda k, r, y: shares(r & (k == y), (k == y) | r), "accepted and classified correctly"),
        (lambda k, r, y: shares((k == y) & ~r, k == y), "is handled, whatever"),
        (lambda k, r, y: shares((k == y) & ~r, r), "all except for the last"),
    ],
)
def test_count_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_count(wrong)


def logs(first, second, temperature):
    """Both opinions, as logarithms."""
    return [(part / temperature).log_softmax(1) for part in (first, second)]


def naive(first, second, temperature):
    """The definition, without care for zeros."""
    u, v = ((part / temperature).softmax(1) for part in (first, second))
    m = (u + v) / 2
    return ((u * (u / m).log()).sum(1) + (v * (v / m).log()).sum(1)) / 2


def kullback(first, second, temperature):
    """The asymmetric divergence."""
    u, v = logs(first, second, temperature)
    return (u.exp() * (u - v)).sum(1)


def test_divergence(capsys) -> None:
    chapter.check_divergence(lambda a, b, t: jensen_shannon(*logs(a, b, t)))
    assert "Exercise “The divergence of two opinions”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, b, t: jensen_shannon(*logs(a, b, t)).mean(), "one number per row"),
        (naive, "0 · log 0"),
        (lambda a, b, t: jensen_shannon(*logs(a, b, t)) / torch.tensor(2.0).log(), "bits"),
        (lambda a, b, t: 2 * jensen_shannon(*logs(a, b, t)), "check the factors"),
        (kullback, "check the factors"),
        (lambda a, b, t: jensen_shannon(*logs(a, b, 1)), "wrong at temperature 10"),
    ],
)
def test_divergence_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_divergence(wrong)


def test_expected(capsys) -> None:
    chapter.check_expected(lambda f, many: lambda x: sum(f(a(x)) for a in many) / len(many))
    assert "Exercise “Expect the lot”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda f, many: torch.zeros(3, 3), "return a function"),
        (lambda f, many: lambda x: f(many[0](x)).sum(1), "shape"),
        (lambda f, many: lambda x: f(sum(a(x) for a in many) / len(many)), "not the images"),
        (lambda f, many: lambda x: sum(f(a(x)) for a in many), "divide by"),
        (lambda f, many: lambda x: f(many[0](x)), "the same weight"),
        (
            lambda f, many: lambda x: (sum(f(a(x)) for a in many) / len(many)).detach(),
            "keep the gradient",
        ),
    ],
)
def test_expected_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_expected(wrong)
