"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.exercises import ExerciseError
from armsrace.exercises import observation as chapter

CHECKS = [
    chapter.check_matched_noise,
    chapter.check_largest_change,
    chapter.check_r_squared,
    chapter.check_three_gradients,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_no_function_or_fails_is_refused(check) -> None:
    with pytest.raises(ExerciseError, match="asks for a function, got 3"):
        check(3)
    with pytest.raises(ExerciseError, match="ZeroDivisionError"):
        check(lambda *_: 1 / 0)


def matched(perturbations, generator):
    """The right answer to 1.1."""
    noise = torch.randn(perturbations.shape, generator=generator)
    lengths = [rows.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for rows in (perturbations, noise)]
    return noise * lengths[0] / lengths[1]


def test_matched_noise(capsys) -> None:
    chapter.check_matched_noise(matched)
    assert "Exercise “Noise of the same length”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda p, g: torch.randn(p.shape, generator=g), "as long as its perturbation"),
        (
            lambda p, g: torch.randn(p.shape, generator=g) * p.norm() / 784**0.5,
            "not over the batch",
        ),
        (lambda p, g: -p, "direction must be random"),
        (lambda p, g: matched(p, torch.Generator().manual_seed(9)), "another generator"),
        (lambda p, g: matched(p, None), "and nothing else"),
        (lambda p, g: p[0], "shape"),
    ],
)
def test_matched_noise_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_matched_noise(wrong)


def test_largest_change(capsys) -> None:
    chapter.check_largest_change(lambda w, e, k: e * w.abs().topk(k).values.sum())
    assert "Exercise “The linear case”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda w, e, k: e * w.sum(), "choose the sign"),
        (lambda w, e, k: e * w.norm(), "ε‖w‖₂"),
        (lambda w, e, k: e * w.abs().max(), "by hand"),
        (lambda w, e, k: 3.0, "number of pixels"),
        (lambda w, e, k: e * w.abs().sum(), "two pixels"),
        (lambda w, e, k: e * w.topk(k).values.sum(), "by hand|two pixels|choose the sign"),
    ],
)
def test_largest_change_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_largest_change(wrong)


def test_r_squared(capsys) -> None:
    chapter.check_r_squared(lambda x, y: torch.corrcoef(torch.stack([x, y]))[0, 1] ** 2)
    assert "Exercise “How straight is a line?”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, y: (x @ y) ** 2 / (x @ x) / (y @ y), "intercept"),
        (lambda x, y: torch.corrcoef(torch.stack([x, y]))[0, 1], "5 \\+ 2x"),
        (lambda x, y: 1.0, "squared residuals|sum of squared"),
    ],
)
def test_r_squared_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_r_squared(wrong)


def stepping(steps, size):
    """An attack in sign steps of a fraction of the budget."""

    def attack(model, images, labels, epsilon):
        current = images
        for _ in range(steps):
            current = current.clone().requires_grad_()
            loss = torch.nn.functional.cross_entropy(model(current), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, current)
            change = current.detach() + size * epsilon * gradient.sign() - images
            current = (images + change.clamp(-epsilon, epsilon)).clamp(0, 1)
        return current

    return attack


def test_three_gradients(capsys) -> None:
    chapter.check_three_gradients(stepping(3, 0.5))
    assert "Exercise “Three gradients”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (stepping(1, 1.0), "the bar is 50"),
        (stepping(4, 0.5), "the budget is 300 images"),
        (lambda m, x, y, e: (x + 0.2).clamp(0, 1), "the budget is 0.1"),
        (lambda m, x, y, e: x + 0.1, "outside"),
        (lambda m, x, y, e: x[0], "shape"),
        (lambda m, x, y, e: x * torch.nan, "not a number"),
    ],
)
def test_three_gradients_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_three_gradients(wrong)
