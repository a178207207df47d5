"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.attacks import overpowered
from armsrace.exercises import ExerciseError
from armsrace.exercises import robust_manifold as chapter

CHECKS = [
    chapter.check_price, chapter.check_jump, chapter.check_halving, chapter.check_far_apart,
]  # fmt: skip


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


def halved(classifier, decoder, starts, epsilon):
    """Halve each line until the images of its ends are within epsilon, eight times at most."""
    first, second = starts.unbind(1)
    with torch.no_grad():
        label = classifier(decoder(first)).argmax(1)
        for _ in range(8):
            far = (decoder(first) - decoder(second)).flatten(1).norm(dim=1) > epsilon
            middle = (first + second) / 2
            same = classifier(decoder(middle)).argmax(1) == label
            first = torch.where((far & same)[:, None], middle, first)
            second = torch.where((far & ~same)[:, None], middle, second)
    return torch.stack([first, second], dim=1)


def ascended(steps, **options):
    """The overpowered attack from the starts."""

    def solve(classifier, decoder, starts, epsilon):
        options.setdefault("step_size", 0.1)
        found = overpowered(
            classifier, decoder, starts, epsilon=epsilon, steps=steps, first=False, **options
        )
        return found.latents

    return solve


def both(classifier, decoder, starts, epsilon):
    """Halve, then ascend."""
    near = halved(classifier, decoder, starts, epsilon)
    return ascended(60, step_size=0.03)(classifier, decoder, near, epsilon)


def copies(classifier, decoder, starts, epsilon):
    """The first pair that both finds, again and again."""
    return both(classifier, decoder, starts[:1], epsilon).expand_as(starts)


def test_far_apart(capsys) -> None:
    chapter.check_far_apart(both)
    assert "Exercise “Answers far apart”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (halved, r"2\d of 24 pairs are valid, and \d different ones"),
        (ascended(78), "the bar is 15"),
        (ascended(80), "the budget is 3840 images"),
        (copies, "24 of 24 pairs are valid, and [01] different ones"),
        (lambda c, d, s, e: s, "the bar is 15"),
        (lambda c, d, s, e: d(s.flatten(0, 1)), "two latents per start"),
        (lambda c, d, s, e: torch.full_like(s, torch.nan), "0 of 24 pairs are valid"),
    ],
)
def test_far_apart_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_far_apart(wrong)
