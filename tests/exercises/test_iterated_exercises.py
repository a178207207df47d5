"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.exercises import ExerciseError
from armsrace.exercises import iterated as chapter

CHECKS = [chapter.check_project_l2, chapter.check_destruction, chapter.check_averaged]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def lengths(perturbations):
    """L2 lengths (N, 1, 1, 1)."""
    return perturbations.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def test_project_l2(capsys) -> None:
    chapter.check_project_l2(lambda p, e: p * (e / lengths(p).clamp_min(1e-12)).clamp_max(1))
    assert "Exercise “Back to the ball”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda p, e: p, "outside the ball"),
        (lambda p, e: e * p / lengths(p).clamp_min(1e-12), "own projection"),
        (lambda p, e: e * p / lengths(p), "must stay 0"),
        (lambda p, e: p * min(1, e / p.norm()), "length of each image"),
        (lambda p, e: torch.where(lengths(p) > e, p.clamp(-0.2, 0.2), p), "do not clip"),
        (lambda p, e: p[0], "shape"),
    ],
)
def test_project_l2_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_project_l2(wrong)


def test_destruction(capsys) -> None:
    chapter.check_destruction(lambda c, a, t: (c & ~a & t).sum() / (c & ~a).sum())
    assert "Exercise “What did the camera destroy?”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c, a, t: t.float().mean(), "all transformed"),
        (lambda c, a, t: (~a & t).sum() / (~a).sum(), "misclassified when clean"),
        (lambda c, a, t: (c & ~a & t).float().mean(), "not by all"),
        (lambda c, a, t: (c & ~a & t).sum() / c.sum(), "correct when clean and wrong"),
        (lambda c, a, t: (c & ~a & ~t).sum() / (c & ~a).sum(), "survives"),
        (lambda c, a, t: 0.9, "your rate is 0.9"),
    ],
)
def test_destruction_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_destruction(wrong)


def averaged(model, transform, samples):
    """The right answer to 4.3."""
    return lambda images: torch.stack(
        [model(transform(images)) for _ in range(samples)]
    ).mean(dim=0)  # fmt: skip


def once(model, transform, samples):
    """Draws when it is made, not when it is called."""
    shifts = [transform(torch.zeros(())) for _ in range(samples)]
    return lambda images: torch.stack([model(images + shift) for shift in shifts]).mean(dim=0)


def of_images(model, transform, samples):
    """Averages photographs instead of answers."""
    return lambda images: model(torch.stack([transform(images) for _ in range(samples)]).mean(0))


def test_averaged(capsys) -> None:
    chapter.check_averaged(averaged)
    assert "Exercise “Attack through the camera”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (once, "draw again"),
        (of_images, "average the logits"),
        (lambda m, t, s: lambda x: averaged(m, t, s)(x) * s, "not the mean"),
        (lambda m, t, s: lambda x: averaged(m, t, s)(x).detach(), "keep the gradient"),
        (lambda m, t, s: torch.zeros(2, 3), "return a function"),
    ],
)
def test_averaged_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_averaged(wrong)
