"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import math

import pytest
import torch

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import iterated as chapter

CHECKS = [
    chapter.check_project_l2,
    chapter.check_enough_steps,
    chapter.check_best_start,
    chapter.check_fool_all,
]


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


def enough(epsilon, step_size, random_start):
    """From end to end of the ball, or from its middle."""
    return math.ceil((2 if random_start else 1) * epsilon / step_size)


def test_enough_steps(capsys) -> None:
    chapter.check_enough_steps(enough)
    assert "Exercise “Enough steps”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda e, s, r: (1 + r) * e / s, "whole number"),
        (lambda e, s, r: int((1 + r) * e / s), "round up"),
        (lambda e, s, r: enough(e, s, False), "at one end of the ball"),
        (lambda e, s, r: enough(e, s, r) + r, "8 steps"),
        (lambda e, s, r: enough(e, s, r) + 1, "takes 4 steps"),
        (lambda e, s, r: 4 * (1 + r), "and 7 from"),
    ],
)
def test_enough_steps_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_enough_steps(wrong)


def best(images, fooled):
    """The first start that fools, else the last start."""
    chosen = torch.where(fooled.any(0), fooled.int().argmax(0), len(fooled) - 1)
    return images[chosen, torch.arange(images.shape[1])]


def test_best_start(capsys) -> None:
    chapter.check_best_start(best)
    assert "Exercise “Several starts”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, f: best(x.flip(0), f.flip(0))[..., 0], "one image for each"),
        (
            lambda x, f: x[(f * torch.arange(3)[:, None]).argmax(0), torch.arange(4)],
            "not the first",
        ),
        (lambda x, f: x[f.int().argmax(0), torch.arange(4)], "not the first"),
        (lambda x, f: x[-1], "image by image"),
        (
            lambda x, f: torch.tensor([4.0, 9.0, 10.0, 7.0]).view(4, 1, 1, 1),
            "last start that fools",
        ),
    ],
)
def test_best_start_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_best_start(wrong)


def together(chosen):
    """PGD on the mean logits of the chosen models."""

    def attack(models, images, labels, epsilon):
        def mean(batch):
            return sum(models[k](batch) for k in chosen) / len(chosen)

        return attacks.pgd(mean, images, labels, epsilon=epsilon, steps=20).images

    return attack


def test_fool_all(capsys) -> None:
    chapter.check_fool_all(together((0, 1, 2)))
    assert "Exercise “One image for three networks”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (together((0,)), "the bar is 25"),
        (lambda m, x, y, e: 1 - x, "the budget is 0.2"),
        (lambda m, x, y, e: x - 0.1, "outside"),
    ],
)
def test_fool_all_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_fool_all(wrong)
