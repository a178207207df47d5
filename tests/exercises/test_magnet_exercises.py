"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.attacks import pgd
from armsrace.exercises import ExerciseError
from armsrace.exercises import magnet as chapter

CHECKS = [chapter.check_count, chapter.check_expected, chapter.check_past_magnet]


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
        (lambda k, r, y: shares((k == y) & ~r, r), "all except the last"),
    ],
)
def test_count_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_count(wrong)


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


def toward(defense, images, labels, epsilon, count, steps, step_size):
    """L2 PGD toward each of the likeliest wrong classes; the first that works is kept."""
    with torch.no_grad():
        ranked = defense(images)[:, :10].scatter(1, labels[:, None], -torch.inf)
    best = images.clone()
    options = {"epsilon": epsilon, "norm": "l2", "steps": steps, "step_size": step_size}
    for targets in ranked.topk(count).indices.T:
        tried = pgd(defense, images, labels, targets=targets, **options).images
        with torch.no_grad():
            done = defense(tried).argmax(1) == targets
        best[done] = tried[done]
    return best


@pytest.mark.slow
def test_past_magnet(capsys) -> None:
    chapter.check_past_magnet(lambda d, x, y, e: toward(d, x, y, e, 3, 40, 0.5))
    assert "Exercise “Past MagNet”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda d, x, y, e: toward(d, x, y, e, 1, 20, 0.5), "the bar is 15"),
        (lambda d, x, y, e: 1 - x, "the budget is 2.0"),
        (lambda d, x, y, e: x - 0.1, "outside"),
        (lambda d, x, y, e: torch.rand_like(x).sub(0.5).mul(0.1).add(x).clamp(0, 1), "are refused"),
    ],
)
def test_past_magnet_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_past_magnet(wrong)
