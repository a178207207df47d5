"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.defenses import divergence, threshold_at
from armsrace.exercises import ExerciseError
from armsrace.exercises import detection as chapter

CHECKS = [chapter.check_divergence, chapter.check_threshold, chapter.check_guard]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def masses(images):
    """Each image as a distribution over its pixels."""
    return images.flatten(1) / images.flatten(1).sum(1, keepdim=True)


def by_xlogy(p, q):
    """KL without a floor."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(1)


@pytest.mark.parametrize("right", [divergence, lambda a, b: by_xlogy(masses(a), masses(b))])
def test_divergence(right, capsys) -> None:
    chapter.check_divergence(right)
    assert "Exercise “How far apart two images are”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda a, b: divergence(a, b).mean(), "one number per image"),
        (lambda a, b: (masses(a) * (masses(a) / masses(b)).log()).sum(1), "0 · log 0"),
        (lambda a, b: by_xlogy(a.flatten(1), b.flatten(1)), "only in brightness"),
        (lambda a, b: divergence(a, b) / torch.tensor(2.0).log(), "bits"),
        (lambda a, b: 2 * divergence(a, b), "gives log 2"),
        (lambda a, b: divergence(b, a), "gives log 2"),
    ],
)
def test_divergence_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_divergence(wrong)


def test_threshold(capsys) -> None:
    chapter.check_threshold(threshold_at)
    assert "Exercise “A threshold that keeps its promise”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda s, r: s.quantile(r), "your threshold flags"),
        (lambda s, r: s.max(), "a smaller threshold is enough"),
        (lambda s, r: 0.0, "your threshold flags"),
    ],
)
def test_threshold_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_threshold(wrong)


def guard(logits, scores, threshold):
    """The right answer to 12.3."""
    return torch.cat([logits, (logits.amax(1) + scores - threshold)[:, None]], dim=1)


def cut(logits, scores, threshold):
    """No slope in the score."""
    flagged = (scores > threshold).float()
    return torch.cat([logits, (logits.amax(1) + 2 * flagged - 1)[:, None]], dim=1)


def scaled(logits, scores, threshold):
    """The paper's product, which needs positive logits."""
    last = (1 + scores - threshold) * logits.amax(1)
    return torch.cat([logits, last[:, None]], dim=1)


def test_guard(capsys) -> None:
    chapter.check_guard(guard)
    assert "Exercise “The class of detected images”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda z, s, t: guard(z, s, t)[:, 3], r"K \+ 1 logits"),
        (lambda z, s, t: guard(2 * z, s, t), "keep their logits"),
        (lambda z, s, t: guard(z, s, t - 1), "exactly if"),
        (scaled, "only negative logits"),
        (cut, "needs the score's gradient"),
    ],
)
def test_guard_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_guard(wrong)
