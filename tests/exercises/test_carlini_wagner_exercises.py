"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import carlini_wagner as chapter

CHECKS = [
    chapter.check_objective,
    chapter.check_change_of_variable,
    chapter.check_next_constant,
    chapter.check_nearer,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def lead(logits, targets, hidden=-torch.inf):
    """The greatest other logit less the target's, the target's own place filled with `hidden`."""
    others = logits.scatter(1, targets[:, None], hidden).amax(1)
    return others - logits.gather(1, targets[:, None])[:, 0]


def test_objective(capsys) -> None:
    chapter.check_objective(lambda z, t, k: lead(z, t).clamp_min(-k))
    assert "Exercise “The objective”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda z, t, k: lead(z, t, 0.0).clamp_min(-k), "Mask it"),
        (lambda z, t, k: lead(z, t).clamp_min(0), "stops at the boundary"),
        (lambda z, t, k: lead(z, t), "clamp at −κ"),
        (
            lambda z, t, k: (z.amax(1) - z.gather(1, t[:, None])[:, 0]).clamp_min(-k),
            "largest other logit",
        ),
        (lambda z, t, k: lead(z, t).clamp_min(-k).mean(), "one number per image"),
        (lambda z, t, k: -lead(z, t).clamp_min(-k), "is 4; yours"),
    ],
)
def test_objective_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_objective(wrong)


def test_change_of_variable(capsys) -> None:
    chapter.check_change_of_variable(lambda x: torch.atanh((2 * x - 1) * 0.999999))
    assert "Exercise “Into the box”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x: torch.atanh(2 * x - 1), "infinite"),
        (lambda x: torch.atanh((2 * x - 1) * 0.99), "misses the image"),
        (lambda x: torch.logit(x, eps=1e-6), "misses the image"),
        (lambda x: torch.atanh(2 * x - 1).clamp(-20, 20), "never change"),
        (lambda x: torch.atanh((2 * x - 1) * 0.999999).flatten(), "shape"),
    ],
)
def test_change_of_variable_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_change_of_variable(wrong)


def halve(low, high, constant, found):
    """The right answer to 7.3."""
    high = torch.where(found, torch.minimum(high, constant), high)
    low = torch.where(found, low, torch.maximum(low, constant))
    return low, high, torch.where(high.isinf(), 10 * constant, (low + high) / 2)


def test_next_constant(capsys) -> None:
    chapter.check_next_constant(halve)
    assert "Exercise “The search for c”: right" in capsys.readouterr().out


def never_tenfold(low, high, constant, found):
    """Halves towards infinity."""
    low, high, _ = halve(low, high, constant, found)
    return low, high, (low + high) / 2


def of_the_old_ends(low, high, constant, found):
    """The middle of the ends as they were."""
    ends = halve(low, high, constant, found)[:2]
    return *ends, torch.where(high.isinf(), 10 * constant, (low + high) / 2)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (never_tenfold, "multiply by 10"),
        (of_the_old_ends, "midpoint of the new ends"),
        (lambda a, b, c, f: (a, torch.where(f, b, c), c), "new upper end"),
        (lambda a, b, c, f: (c, torch.where(f, c, b), c), "new lower end"),
        (lambda a, b, c, f: c, "three tensors"),
    ],
)
def test_next_constant_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_next_constant(wrong)


def test_nearer(capsys) -> None:
    chapter.check_nearer(lambda m, x, y: attacks.ddn(m, x, y, steps=50).images)
    assert "Exercise “Nearer, for less”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, x, y: attacks.ddn(m, x, y, steps=100).images, "the budget is 1200 images"),
        (lambda m, x, y: attacks.deepfool(m, x, y).images, "your mean distance"),
        (lambda m, x, y: x, "still classified correctly"),
        (lambda m, x, y: x - 0.1, "outside"),
    ],
)
def test_nearer_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_nearer(wrong)
