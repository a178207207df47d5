"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from armsrace.exercises import ExerciseError
from armsrace.exercises import fgsm as chapter

CHECKS = [
    chapter.check_targeted_step,
    chapter.check_step_without_labels,
    chapter.check_smallest_epsilon,
    chapter.check_elsewhere,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_no_tensor_is_refused(check) -> None:
    with pytest.raises(ExerciseError, match="return"):
        check(lambda *_: 3.0)


def signs(model, images, classes):
    """The gradient's sign, written without the library."""
    images = images.clone().requires_grad_()
    loss = cross_entropy(model(images), classes, reduction="sum")
    return torch.autograd.grad(loss, images)[0].sign()


def test_targeted_step(capsys) -> None:
    chapter.check_targeted_step(lambda m, x, t, e: (x - e * signs(m, x, t)).clamp(0, 1))
    assert "Exercise “Toward a target”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, x, t, e: (x + e * signs(m, x, t)).clamp(0, 1), "decrease the target's loss"),
        (lambda m, x, t, e: x - e * signs(m, x, t), "clip after the step"),
        (lambda m, x, t, e: (x - 2 * e * signs(m, x, t)).clamp(0, 1), "largest change is 0.4"),
        (lambda m, x, t, e: (x - e * signs(m, x, t * 0)).clamp(0, 1), "target's loss"),
        (lambda m, x, t, e: x[:1], "shape"),
    ],
)
def test_targeted_step_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_targeted_step(wrong)


def unlabeled(model, images, epsilon, sign=1):
    """The right answer to 3.2; sign=-1 makes the model surer instead."""
    return (images + sign * epsilon * signs(model, images, model(images).argmax(1))).clamp(0, 1)


def test_step_without_labels(capsys) -> None:
    chapter.check_step_without_labels(unlabeled)
    assert "Exercise “A step that cannot leak the label”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, x, e: unlabeled(m, x, e, sign=-1), "more confident"),
        (lambda m, x, e: (x + e * signs(m, x, m(x).argmin(1))).clamp(0, 1), "largest logit"),
        (lambda m, x, e: x, "largest change is 0"),
    ],
)
def test_step_without_labels_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_step_without_labels(wrong)


def margins(weights, biases, images, labels):
    """The label's logit minus the other one."""
    logits = images @ weights.T + biases
    own = logits.gather(1, labels[:, None])[:, 0]
    return own - logits.gather(1, 1 - labels[:, None])[:, 0]


def one_norm(weights):
    """‖w₀ − w₁‖₁."""
    return (weights[0] - weights[1]).abs().sum()


def test_smallest_epsilon(capsys) -> None:
    chapter.check_smallest_epsilon(lambda w, b, x, y: margins(w, b, x, y).relu() / one_norm(w))
    assert "Exercise “The exact distance”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda w, b, x, y: margins(w, b, x, y).relu() / (w[0] - w[1]).norm(), "distance in L2"),
        (
            lambda w, b, x, y: margins(w, b, x, y).abs() / one_norm(w),
            "misclassified image needs no step",
        ),
        (lambda w, b, x, y: margins(w, b, x, y) / one_norm(w), "misclassified image needs no step"),
        (lambda w, b, x, y: margins(w, b, x, y).relu() / w.abs().sum(), "lowers it by"),
    ],
)
def test_smallest_epsilon_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_smallest_epsilon(wrong)


def one_step(shift):
    """One sign step, its gradient taken at the image mixed with gray."""

    def attack(model, images, labels, epsilon):
        away = ((1 - shift) * images + 0.5 * shift).requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(away), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, away)
        return (images + epsilon * gradient.sign()).clamp(0, 1)

    return attack


def test_elsewhere(capsys) -> None:
    chapter.check_elsewhere(one_step(0.5))
    assert "Exercise “The gradient of another image”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (one_step(0.0), "the bar is 60"),
        (lambda m, x, y, e: [m(x) for _ in range(3)] and x, "the budget is 200 images"),
        (lambda m, x, y, e: 1 - x, "the budget is 0.3"),
        (lambda m, x, y, e: x - 0.1, "outside"),
    ],
)
def test_elsewhere_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_elsewhere(wrong)
