"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch
from torch.nn import functional

from armsrace.attacks import bim, fgsm
from armsrace.exercises import ExerciseError
from armsrace.exercises import one_step_training as chapter

CHECKS = [
    chapter.check_mixed_loss,
    chapter.check_blind_step,
    chapter.check_toss,
    chapter.check_strangers,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def step(model, images, labels, epsilon):
    """FGSM by hand."""
    moving = images.clone().requires_grad_()
    loss = functional.cross_entropy(model(moving), labels)
    return (images + epsilon * torch.autograd.grad(loss, moving)[0].sign()).clamp(0, 1)


def mixed(model, images, labels, epsilon, alpha, *, weight=1.0):
    """Goodfellow's loss, times a weight."""
    moved = step(model, images, labels, epsilon)
    clean, attacked = (functional.cross_entropy(model(x), labels) for x in (images, moved))
    return weight * (alpha * clean + (1 - alpha) * attacked)


def test_mixed_loss(capsys) -> None:
    chapter.check_mixed_loss(mixed)
    assert "Exercise “The loss”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, x, y, e, a: mixed(m, x, y, e, 1 - a), "alpha is the weight of the clean"),
        (lambda m, x, y, e, a: mixed(m, x, y, e, a, weight=8), "not the sum"),
        (lambda m, x, y, e, a: mixed(m, x, y, 0.0, a), "missing"),
        (lambda m, x, y, e, a: mixed(m, x, y, -e, a), "yours decreases it"),
        (lambda m, x, y, e, a: mixed(m, x, y, e / 2, a), "yours"),
        (lambda m, x, y, e, a: m(x), "one number"),
    ],
)
def test_mixed_loss_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_mixed_loss(wrong)


def blind(model, images, epsilon):
    """The step away from the prediction."""
    return step(model, images, model(images).argmax(1), epsilon)


def test_blind_step(capsys) -> None:
    chapter.check_blind_step(blind)
    assert "Exercise “A step that does not leak”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, x, e: blind(m, x, -e), "more confident"),
        (lambda m, x, e: blind(m, x, e / 2), "largest logit"),
        (lambda m, x, e: blind(m, x, e)[0], "shape"),
        (lambda m, x, e: blind(m, x, e).requires_grad_(), "detach"),
        (lambda m, x, e: fgsm(m, x, m(x).argmin(1), epsilon=e).images, "largest logit"),
    ],
)
def test_blind_step_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_blind_step(wrong)


def tossed(m, x, y, epsilon, alpha, coins, *, rest=None, at=None, clip=True):
    """A move by the coins, then a step of what is left along the gradient there."""
    start = (x + alpha * coins).clamp(0, 1)
    at = (start if at is None else at).clone().requires_grad_()
    loss = functional.cross_entropy(m(at), y, reduction="sum")
    sign = torch.autograd.grad(loss, at)[0].sign()
    moved = start + (epsilon - alpha if rest is None else rest) * sign
    return moved.clamp(0, 1) if clip else moved


def test_toss(capsys) -> None:
    chapter.check_toss(tossed)
    assert "Exercise “A toss within the budget”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda *task: tossed(*task, rest=0.2), "leave the budget"),
        (lambda *task: tossed(*task, clip=False), "clip them"),
        (lambda m, x, *task: tossed(m, x, *task, at=x), "after the toss"),
        (lambda *task: tossed(*task, rest=0.1), "that is not a move"),
        (lambda *task: tossed(*task)[0], "shape"),
    ],
)
def test_toss_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_toss(wrong)


def together(sources, images, labels, epsilon):
    """BIM on the mean of the sources' log confidences."""

    def mean(batch):
        return sum(model(batch).log_softmax(dim=1) for model in sources) / len(sources)

    return bim(mean, images, labels, epsilon=epsilon, steps=20, step_size=epsilon / 10).images


def test_strangers(capsys) -> None:
    chapter.check_strangers(together)
    assert "Exercise “Strangers together”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda s, x, y, e: fgsm(s[0], x, y, epsilon=e).images, "the bar is"),
        (
            lambda s, x, y, e: bim(s[1], x, y, epsilon=e, steps=10, step_size=e / 10).images,
            "the bar",
        ),
        (lambda s, x, y, e: (x - 0.4).clamp(0, 1), "the budget is 0.3"),
        (lambda s, x, y, e: x - 0.1, "outside"),
    ],
)
def test_strangers_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_strangers(wrong)
