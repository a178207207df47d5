"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.exercises import ExerciseError
from armsrace.exercises import robust_manifold as chapter

CHECKS = [chapter.check_price, chapter.check_jump, chapter.check_halving]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def test_price(capsys) -> None:
    chapter.check_price(lambda m, d, e, r: (m + r * (d - e)).clamp_min(0))
    assert "Exercise “The price of distance”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, d, e, r: (m + r * (d - e)).clamp_min(0).sum(), "one multiplier per pair"),
        (lambda m, d, e, r: (m - r * (d - e)).clamp_min(0), "multiplier must increase"),
        (lambda m, d, e, r: m + r * (d - e), "clamp it at 0"),
        (lambda m, d, e, r: m + r * (d - e).clamp_min(0), "the result is"),
        (lambda m, d, e, r: m * (d / e), "the result is"),
    ],
)
def test_price_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_price(wrong)


def neighbors(line):
    """Absolute changes of the probabilities, from point to point."""
    return (line[:, 1:] - line[:, :-1]).abs()


def test_jump(capsys) -> None:
    chapter.check_jump(lambda line: neighbors(line).sum(2).div(2).amax(1))
    assert "Exercise “How hard a boundary is”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda line: neighbors(line).sum(2).div(2).amax(), "one number per line"),
        (lambda line: neighbors(line).sum(2).amax(1), "divide the sum by 2"),
        (lambda line: (line[:, -1] - line[:, 0]).abs().sum(1) / 2, "not its two ends"),
        (lambda line: (line[:, :-1] - line[:, 1:])[..., 0].amax(1), "rises or falls"),
        (lambda line: neighbors(line).sum(2).div(2).mean(1), "take the maximum"),
    ],
)
def test_jump_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_jump(wrong)


def halve(classifier, decoder, first, second, epsilon, gap=None):
    """Bisection; `gap` measures the two latents, by default through the decoder."""
    gap = gap or (lambda a, b: (decoder(a[None]) - decoder(b[None])).norm())
    read = [int(classifier(decoder(z[None])).argmax()) for z in (first, second)]
    while gap(first, second) > epsilon:
        middle = (first + second) / 2
        if int(classifier(decoder(middle[None])).argmax()) == read[0]:
            first = middle
        else:
            second = middle
    return first, second


def wrong_half(classifier, decoder, first, second, epsilon):
    """The first half, whatever is read in it."""
    while (decoder(first[None]) - decoder(second[None])).norm() > epsilon:
        second = (first + second) / 2
    return first, second


def aside(classifier, decoder, first, second, epsilon):
    """Off the line, along which the decoder hardly sees a difference."""
    found = halve(classifier, decoder, first, second, epsilon / 2)
    return tuple(latents + torch.tensor([0.0, 0.01]) for latents in found)


def test_halving(capsys) -> None:
    chapter.check_halving(halve)
    assert "Exercise “There is always a pair”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c, g, a, b, e: a, "shape"),
        (lambda c, g, a, b, e: (a, b, a), "two latents"),
        (lambda c, g, a, b, e: (a[None], b[None]), "shape"),
        (lambda c, g, a, b, e: (a, b), "apart, more than"),
        (wrong_half, "classified alike"),
        (aside, "stay on the line"),
        (lambda c, g, a, b, e: halve(c, g, a, b, e, lambda x, y: (x - y).norm() / 9), "images"),
    ],
)
def test_halving_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_halving(wrong)
