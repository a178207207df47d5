"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace import attacks, zoo
from armsrace.exercises import ExerciseError
from armsrace.exercises import distillation as chapter

CHECKS = [chapter.check_exact_logits, chapter.check_awakened, chapter.check_served]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def exact(counts, temperature):
    """The right answer to the first exercise."""
    logs = temperature * counts.log()
    return logs - logs.mean(dim=1, keepdim=True)


def test_exact_logits(capsys) -> None:
    chapter.check_exact_logits(exact)
    chapter.check_exact_logits(lambda c, t: exact(c / c.sum(1, keepdim=True), t))
    assert capsys.readouterr().out.count("Exercise “What the labels ask for”: right") == 2


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c, t: exact(c, 1.0), "logits at T = 1"),
        (lambda c, t: c.log(), "logits at T = 1"),
        (lambda c, t: exact(c, t**2), "frequencies of the labels"),
        (lambda c, t: t * c, "frequencies of the labels"),
        (lambda c, t: t * c.log(), "mean is zero"),
        (lambda c, t: exact(c, t)[0], "shape"),
    ],
)
def test_exact_logits_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_exact_logits(wrong)


def of_unit_size(model):
    """The right answer to the second exercise."""

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


def own_networks(batch):
    """The logits of three networks of the student's architecture, added."""
    return sum(zoo.load(name)(batch) for name in NAMES)


NAMES = ("carlini-wagner", "carlini-wagner-even", "carlini-wagner-odd")


def once(served, images, labels, epsilon):
    """One transferred image per digit."""
    return attacks.pgd(own_networks, images, labels, epsilon=epsilon, steps=8).images


def each_class(served, images, labels, epsilon):
    """One image toward each wrong class; the first that works is kept."""
    best = images.clone()
    with torch.no_grad():
        ranked = own_networks(images).scatter(1, labels[:, None], -torch.inf)
    for targets in ranked.topk(4).indices.T:
        options = {"targets": targets, "epsilon": epsilon, "steps": 8, "step_size": 0.08}
        tried = attacks.pgd(own_networks, images, labels, **options).images
        wrong = served(tried).argmax(1) != labels
        best[wrong] = tried[wrong]
    return best


@pytest.mark.slow
def test_served(capsys) -> None:
    chapter.check_served(each_class)
    assert "Exercise “Not one gradient”: right" in capsys.readouterr().out


def twice_as_often(served, images, labels, epsilon):
    """More queries than allowed."""
    for _ in range(21):
        served(images)
    return images


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (once, "the bar is 14"),
        (twice_as_often, "the budget is 600 images"),
        (lambda served, x, y, epsilon: 1 - x, "some pixel moved"),
    ],
)
def test_served_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_served(wrong)
