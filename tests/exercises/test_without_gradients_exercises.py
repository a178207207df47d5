"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import without_gradients as chapter

CHECKS = [
    chapter.check_estimate,
    chapter.check_sphere_step,
    chapter.check_halve,
    chapter.check_squares,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def estimate(score, images, directions, h):
    """The right answer to 8.1."""
    total = torch.zeros_like(images)
    for direction in directions:
        rise = score(images + h * direction) - score(images - h * direction)
        total += rise.view(-1, 1, 1, 1) / (2 * h) * direction
    return total / len(directions)


def one_sided(score, images, directions, h):
    """Probes one side only."""
    base, total = score(images), torch.zeros_like(images)
    for direction in directions:
        rise = score(images + h * direction) - base
        total += rise.view(-1, 1, 1, 1) / h * direction
    return total / len(directions)


def test_estimate(capsys) -> None:
    chapter.check_estimate(estimate)
    assert "Exercise “A gradient from scores”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda s, x, u, h: 2 * estimate(s, x, u, h), "divide by 2h: the two"),
        (lambda s, x, u, h: 2 * h * estimate(s, x, u, h), "divide by 2h, the distance"),
        (lambda s, x, u, h: len(u) * estimate(s, x, u, h), "not the sum"),
        (one_sided, "both sides"),
        (lambda s, x, u, h: estimate(s, x, u, h) + 0 * s(x)[0], "yours made 11"),
        (lambda s, x, u, h: estimate(s, x, u, h)[0], "of shape"),
    ],
)
def test_estimate_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_estimate(wrong)


def lengths(batch):
    """L2 lengths (N, 1, 1, 1)."""
    return batch.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def sphere_step(clean, current, draws, size):
    """The right answer to 8.2."""
    way = clean - current
    share = (draws * way).flatten(1).sum(dim=1).view(-1, 1, 1, 1) / lengths(way) ** 2
    aside = draws - share * way
    return clean + (size * lengths(way) * aside / lengths(aside) - way) / (1 + size**2) ** 0.5


def no_angle(clean, current, draws, size):
    """Keeps the part of the draws along the way."""
    moved = current + size * lengths(clean - current) * draws / lengths(draws)
    return clean + (moved - clean) / lengths(moved - clean) * lengths(current - clean)


def test_sphere_step(capsys) -> None:
    chapter.check_sphere_step(sphere_step)
    assert "Exercise “Around the image”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, c, n, s: clean_off(x, c, n, s), "project it to the sphere"),
        (no_angle, "orthogonal to"),
        (lambda x, c, n, s: sphere_step(x, c, n, 2 * s), "orthogonal to"),
        (lambda x, c, n, s: sphere_step(x, c, n.flip(0), s), "its own direction"),
        (lambda x, c, n, s: x[0], "of shape"),
    ],
)
def test_sphere_step_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_sphere_step(wrong)


def clean_off(clean, current, draws, size):
    """Leaves the sphere."""
    return clean + (sphere_step(clean, current, draws, size) - clean) * (1 + size**2) ** 0.5


def halve(is_adversarial, clean, start, times):
    """The right answer to 8.3."""
    outside, inside = clean, start
    for _ in range(times):
        middle = (outside + inside) / 2
        fooled = is_adversarial(middle).view(-1, 1, 1, 1)
        inside, outside = (
            torch.where(fooled, middle, inside), torch.where(fooled, outside, middle)
        )  # fmt: skip
    return inside


def together(is_adversarial, clean, start, times):
    """Treats the batch as one image."""
    outside, inside = clean, start
    for _ in range(times):
        middle = (outside + inside) / 2
        if is_adversarial(middle).all():
            inside = middle
        else:
            outside = middle
    return inside


def test_halve(capsys) -> None:
    chapter.check_halve(halve)
    assert "Exercise “Halve the line”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, x, s, t: (x + halve(a, x, s, t)) / 2, "must be adversarial"),
        (together, "its own ends"),
        (lambda a, x, s, t: halve(a, x, s, t // 2), "1/256"),
        (lambda a, x, s, t: halve(a, x, s, 2 * t), "yours made 16"),
        (lambda a, x, s, t: x[0], "of shape"),
    ],
)
def test_halve_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_halve(wrong)


def test_squares(capsys) -> None:
    chapter.check_squares(lambda f, x, y, e: attacks.square(f, x, y, epsilon=e, queries=250).images)
    assert "Exercise “Squares”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda f, x, y, e: x, "the bar is 30"),
        (lambda f, x, y, e: [f(x) for _ in range(301)] and x, "the budget is 12000 images"),
        (lambda f, x, y, e: 1 - x, "the budget is 0.2"),
        (lambda f, x, y, e: x - 0.1, "outside"),
        (3, "asks for a function"),
        (lambda *_: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_squares_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_squares(wrong)
