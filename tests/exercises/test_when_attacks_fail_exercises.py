"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch
from torch.nn import functional

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import when_attacks_fail as chapter
from armsrace.losses import dlr, margin

CHECKS = [
    chapter.check_silent,
    chapter.check_kept,
    chapter.check_ratio,
    chapter.check_unmask,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def gradient(model, images, labels):
    """Of the cross-entropy at each image (N, C, H, W)."""
    moving = images.clone().requires_grad_()
    loss = functional.cross_entropy(model(moving), labels, reduction="sum")
    return torch.autograd.grad(loss, moving)[0]


def silent(model, images, labels):
    """The share of images all of whose pixels have no gradient."""
    return (gradient(model, images, labels) == 0).flatten(1).all(1).float().mean()


def kept(loss, images, epsilon):
    """The rise of the loss over ε ‖g‖₁."""
    moving = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(moving).sum(), moving)
    rise = loss(images + epsilon * slope.sign()) - loss(images)
    return rise / (epsilon * slope.abs().flatten(1).sum(1))


RIGHT = {
    "A silent gradient": (chapter.check_silent, silent),
    "What the gradient promises": (chapter.check_kept, kept),
    "A loss without a scale": (chapter.check_ratio, dlr),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, capsys) -> None:
    check, answer = RIGHT[name]
    check(answer)
    assert f"Exercise “{name}”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (
            chapter.check_silent,
            lambda *task: (gradient(*task) == 0).flatten(1).any(1).float().mean(),
            "all of whose pixels",
        ),
        (chapter.check_silent, lambda *task: (gradient(*task) == 0).float().mean(), "share of pix"),
        (chapter.check_silent, lambda *task: 1 - 3 * silent(*task) / 2, "your share is"),
        (chapter.check_silent, lambda m, x, y: 0.5, "a wrong answer has a gradient"),
        (chapter.check_kept, lambda f, x, e: kept(f, x, e)[0], "one number for each"),
        (chapter.check_kept, lambda f, x, e: e * kept(f, x, e), "keeps its promise"),
        (chapter.check_kept, lambda f, x, e: 1 / kept(f, x, e), "divide the rise"),
        (chapter.check_kept, lambda f, x, e: kept(f, x, 0.1), "the whole step"),
        (chapter.check_ratio, lambda z, y: -dlr(z, y), "the sign"),
        (chapter.check_ratio, margin, "100 times larger"),
        (chapter.check_ratio, lambda z, y: margin(z, y) / 3, "the largest minus the third"),
        (chapter.check_ratio, lambda z, y: dlr(z, y)[0], "one number for each"),
    ],
)
def test_hints(check, wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(wrong)


def through(defense, images, labels, epsilon):
    """Straight through the rounding, by the margin."""

    def seen(batch):
        smoothed = defense.smooth(batch)
        return defense.network(smoothed + (defense.quantize(smoothed) - smoothed).detach())

    return attacks.pgd(seen, images, labels, epsilon=epsilon, steps=20, loss=margin).images


def test_unmask(capsys) -> None:
    chapter.check_unmask(through)
    assert "Exercise “Three masks at once”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda d, x, y, e: attacks.pgd(d, x, y, epsilon=e, steps=20).images, "0 of 50"),
        (lambda d, x, y, e: attacks.fgsm(d.network, x, y, epsilon=e).images, "the bar is 40"),
        (lambda d, x, y, e: 1 - x, "the budget is 0.1"),
        (lambda d, x, y, e: x - 0.1, "outside"),
    ],
)
def test_unmask_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_unmask(wrong)
