"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch
from torch.nn import functional

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import pgd_training as chapter

CHECKS = [
    chapter.check_reopened,
    chapter.check_wakes,
    chapter.check_divergence,
    chapter.check_over_the_cliff,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def reopened(hard, soft):
    """The values of one, the gradient of the other."""

    def joined(values):
        smooth = soft(values)
        return hard(values).detach() + (smooth - smooth.detach())

    return joined


def test_reopened(capsys) -> None:
    chapter.check_reopened(reopened)
    assert "Exercise “Give a slope back”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda hard, soft: soft, "must be those of hard"),
        (lambda hard, soft: lambda x: hard(x) + soft(x) - soft(x).detach(), "are added"),
        (lambda hard, soft: lambda x: hard(x).detach(), "no gradient"),
        (lambda hard, soft: hard, "not that of soft"),
        (lambda hard, soft: lambda x: reopened(hard, soft)(x) + 1, "not those of hard"),
        (lambda hard, soft: torch.zeros(3), "return a function"),
    ],
)
def test_reopened_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_reopened(wrong)


def wakes(weights, bias):
    """Zero, a threshold, or never."""
    total = weights.flatten(1).sum(1)
    level = torch.where(total > 0, -bias / total, torch.inf)
    return torch.where(bias > 0, 0, level)


def test_wakes(capsys) -> None:
    chapter.check_wakes(wakes)
    assert "Exercise “Where a filter wakes up”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda w, b: -b / w[:, 0, 0], "sum them"),
        (lambda w, b: b / w.flatten(1).sum(1), "above v = −b / w"),
        (lambda w, b: -b / w.flatten(1).sum(1), "it never responds"),
        (lambda w, b: torch.where(w.sum((1, 2)) > 0, -b / w.sum((1, 2)), torch.inf), "black patch"),
        (lambda w, b: wakes(w, b)[0], "one level for each"),
    ],
)
def test_wakes_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_wakes(wrong)


def divergence(clean, attacked):
    """Σ p (log p − log q), the mean over images."""
    p, q = clean.log_softmax(1), attacked.log_softmax(1)
    return (p.exp() * (p - q)).sum(1).mean()


def test_divergence(capsys) -> None:
    chapter.check_divergence(divergence)
    assert "Exercise “A divergence of logits”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda p, q: divergence(q, p), "not symmetric"),
        (lambda p, q: divergence(p, q) * len(p), "not the sum"),
        (lambda p, q: divergence(p, q) / p.shape[1], "sum over the classes"),
        (lambda p, q: functional.cross_entropy(q, p.softmax(1)), "here the divergence is"),
        (lambda p, q: p, "one number"),
        (
            lambda p, q: (p.softmax(1) * (p.softmax(1) / q.softmax(1)).log()).sum(1).mean(),
            "use log_softmax",
        ),
    ],
)
def test_divergence_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_divergence(wrong)


def shrinking_steps(model, images, labels, epsilon, steps=29):
    """Sign steps from a random corner, as long as the budget at first."""
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    coins = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    moved = torch.where(coins, low, high)
    for step in range(steps):
        moved.requires_grad_()
        loss = functional.cross_entropy(model(moved), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        size = epsilon * (1 - step / steps)
        moved = (moved.detach() + size * gradient.sign()).clamp(low, high)
    return moved


def test_over_the_cliff(capsys) -> None:
    chapter.check_over_the_cliff(shrinking_steps)
    assert "Exercise “Over the cliff”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, x, y, e: attacks.pgd(m, x, y, epsilon=e, steps=29).images, "the bar is 30"),
        (lambda m, x, y, e: attacks.fgsm(m, x, y, epsilon=e).images, "the bar is 30"),
        (lambda m, x, y, e: shrinking_steps(m, x, y, e, steps=31), "the budget is 1200 images"),
        (lambda m, x, y, e: (x - 0.4).clamp(0, 1), "the budget is 0.35"),
        (lambda m, x, y, e: x - 0.1, "outside"),
    ],
)
def test_over_the_cliff_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_over_the_cliff(wrong)
