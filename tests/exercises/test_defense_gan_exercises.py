"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.defenses import LatentSearch
from armsrace.defenses.latent_projection import invert
from armsrace.exercises import ExerciseError
from armsrace.exercises import defense_gan as chapter

CHECKS = [
    chapter.check_best, chapter.check_identity, chapter.check_sizes, chapter.check_closer,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def errors(drawn, images):
    """Squared errors (N, R)."""
    return (drawn - images[:, None]).square().flatten(2).sum(2)


def best(drawn, images):
    """The right answer."""
    return drawn[torch.arange(len(drawn)), errors(drawn, images).argmin(1)]


def test_best(capsys) -> None:
    chapter.check_best(best)
    assert "Exercise “The best of the restarts”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda d, x: d, "one reconstruction per image"),
        (lambda d, x: d[:, errors(d, x).sum(0).argmin()], "its own best"),
        (lambda d, x: d.mean(1), "not an output of the generator"),
        (lambda d, x: d[torch.arange(3), errors(d, x).argmax(1)], "smallest squared error"),
    ],
)
def test_best_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_best(wrong)


def test_identity(capsys) -> None:
    chapter.check_identity(lambda p, x: x + (p(x) - x).detach())
    assert "Exercise “The identity, backwards”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda p, x: x, "values must be those"),
        (lambda p, x: p(x).detach(), "has no gradient"),
        (lambda p, x: p(x), "gradient is zero"),
        (lambda p, x: 2 * x + (p(x) - 2 * x).detach(), "backward unchanged"),
    ],
)
def test_identity_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_identity(wrong)


def squares(change):
    """Squared changes (N, D)."""
    return change.square().flatten(1)


def test_sizes(capsys) -> None:
    chapter.check_sizes(lambda c: (squares(c).sum(1).sqrt(), squares(c).mean(1)))
    assert "Exercise “Two ways to say how far”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c: squares(c).mean(1), "two tensors"),
        (lambda c: (c.norm(), c.square().mean()), "one number per image"),
        (lambda c: (squares(c).sum(1), squares(c).mean(1)), "root of the sum"),
        (lambda c: (c.flatten(1).abs().sum(1), squares(c).mean(1)), "Euclidean norm"),
        (lambda c: (squares(c).sum(1).sqrt(), squares(c).mean(1).sqrt()), "omit the root"),
        (lambda c: (squares(c).sum(1).sqrt(), squares(c).sum(1)), "mean of the squares"),
    ],
)
def test_sizes_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_sizes(wrong)


def search(restarts, steps, halving):
    """The library's search, as an answer."""
    settings = LatentSearch(128, restarts=restarts, steps=steps, halving=halving)
    return lambda draw, images: invert(draw, images, settings).latents


def test_closer(capsys) -> None:
    chapter.check_closer(search(6, 110, 10.0))
    assert "Exercise “Closer, for fewer drawings”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (search(5, 39, 0.0), "the budget is 1600 images"),
        (search(5, 30, 0.0), "that of five full restarts"),
        (lambda draw, x: torch.zeros(len(x), 128), "that of five full restarts"),
        (lambda draw, x: draw(torch.zeros(len(x), 128)), "one latent per image"),
    ],
)
def test_closer_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_closer(wrong)
