"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.exercises import ExerciseError
from armsrace.exercises import deep_image_prior as chapter

CHECKS = [chapter.check_drawing, chapter.check_stop, chapter.check_through]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def drawing(kernel, image, rate, steps):
    """Correction by correction."""
    drawn = torch.zeros_like(image)
    for _ in range(steps):
        drawn = drawn + rate * kernel @ (image - drawn)
    return drawn


def without_residual(kernel, image, rate, steps):
    """The whole image at every step."""
    return rate * steps * kernel @ image


def test_drawing(capsys) -> None:
    chapter.check_drawing(drawing)
    assert "Exercise “Draw with a fixed kernel”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda k, x, r, s: drawing(k, x, r, s).sum(), "one image"),
        (lambda k, x, r, s: drawing(k, x, r, s + 1), "after 0 steps"),
        (lambda k, x, r, s: drawing(k, x, 1.0, s), "by the rate"),
        (lambda k, x, r, s: drawing(torch.eye(len(x)).to(k), x, r, s), "the first step adds"),
        (without_residual, "wrong after 2"),
    ],
)
def test_drawing_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_drawing(wrong)


def first_within(residuals, tolerance, strict=False):
    """The first of the steps that are near enough."""
    near = residuals < tolerance if strict else residuals <= tolerance
    near = torch.cat([near[:-1], torch.ones_like(near[-1:])])
    return near.int().argmax(dim=0)


def test_stop(capsys) -> None:
    chapter.check_stop(first_within)
    assert "Exercise “Stop”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda r, t: first_within(r, t)[0], "one step per image"),
        (lambda r, t: first_within(r, t, strict=True), "use <="),
        (lambda r, t: torch.full((3,), len(r) - 1), "not the last one"),
        (lambda r, t: torch.full((3,), int(first_within(r, t)[0])), "on its own"),
        (lambda r, t: (r <= t).int().argmax(dim=0), "takes all steps"),
    ],
)
def test_stop_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_stop(wrong)


def through(weights, prior, epsilon):
    """Down the gradient of the score of the drawing."""
    slope = prior.T @ weights
    return -epsilon * slope / slope.norm()


def test_through(capsys) -> None:
    chapter.check_through(through)
    assert "Exercise “Attack through the prior”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda w, m, e: through(w, m, e)[:3], "one δ of shape"),
        (lambda w, m, e: through(w, m, 2 * e), "use the whole budget"),
        (lambda w, m, e: -through(w, m, e), "check the sign"),
        (lambda w, m, e: -e * w / w.norm(), "the score alone"),
        (lambda w, m, e: through(w, m.T, e), "its transpose"),
        (lambda w, m, e: -e * torch.sign(m.T @ w) / len(w) ** 0.5, "linear in δ"),
    ],
)
def test_through_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_through(wrong)
