"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
from torch.nn.functional import cross_entropy

from armsrace.exercises import ExerciseError
from armsrace.exercises import distillation as chapter

CHECKS = [chapter.check_softened, chapter.check_student_loss, chapter.check_awakened]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def test_softened(capsys) -> None:
    chapter.check_softened(lambda z, t: (z / t).softmax(1))
    chapter.check_softened(lambda z, t: (z / t).log_softmax(1).exp())
    assert capsys.readouterr().out.count("Exercise “Temperature”: right") == 2


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda z, t: z.exp() / z.exp().sum(1, keepdim=True), "too large"),
        (lambda z, t: (z * t).softmax(1), "divide by it"),
        (lambda z, t: z.softmax(1) / t, "sum to 1"),
        (lambda z, t: z.softmax(1), "0.506"),
        (lambda z, t: (z / t).softmax(0), "0.506"),
        (lambda z, t: (z / t).softmax(1)[0], "shape"),
    ],
)
def test_softened_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_softened(wrong)


def test_student_loss(capsys) -> None:
    chapter.check_student_loss(lambda z, g, t: cross_entropy(z / t, (g / t).softmax(1)))
    chapter.check_student_loss(
        lambda z, g, t: -((g / t).softmax(1) * (z / t).log_softmax(1)).sum(1).mean()
    )
    assert capsys.readouterr().out.count("Exercise “The student's loss”: right") == 2


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda z, g, t: cross_entropy(z, (g / t).softmax(1)), "trained at T too"),
        (lambda z, g, t: cross_entropy(z / t, g.softmax(1)), "soft because of T"),
        (lambda z, g, t: cross_entropy(z / t, g.argmax(1)), "hard labels"),
        (lambda z, g, t: cross_entropy(z / t, (g / t).softmax(1), reduction="sum"), "mean"),
        (lambda z, g, t: cross_entropy(z / t, (g / t).softmax(1), reduction="none"), "one number"),
        (lambda z, g, t: cross_entropy(g / t, (z / t).softmax(1)), "yours is"),
    ],
)
def test_student_loss_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_student_loss(wrong)


def of_unit_size(model):
    """The right answer to 11.3."""

    def awake(batch):
        logits = model(batch)
        return logits / logits.detach().abs().mean()

    return awake


def test_awakened(capsys) -> None:
    chapter.check_awakened(of_unit_size)
    assert "Exercise “Break it without knowing T”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda model: model, "unknown"),
        (lambda model: lambda batch: model(batch) / 100, "unknown"),
        (lambda model: lambda batch: -model(batch), "decides differently"),
        (lambda model: 100.0, "return a callable"),
    ],
)
def test_awakened_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_awakened(wrong)
