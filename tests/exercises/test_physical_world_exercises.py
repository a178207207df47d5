"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace import attacks
from armsrace.attacks import physical
from armsrace.exercises import ExerciseError
from armsrace.exercises import physical_world as chapter

CHECKS = [
    chapter.check_destruction,
    chapter.check_erased,
    chapter.check_averaged,
    chapter.check_cheap_shots,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


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
    """The mean over new draws."""
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


def erased(clean, attacked, shift, *, clip=(0, 1), among=True, survive=False):
    """The share of changed pixels that are equal after the shift."""
    changed = clean != attacked
    equal = (clean + shift).clamp(*clip) == (attacked + shift).clamp(*clip)
    equal = ~equal if survive else equal
    return (changed & equal).flatten(1).sum(1) / (
        changed.flatten(1).sum(1) if among else changed[0].numel()
    )


def test_erased(capsys) -> None:
    chapter.check_erased(erased)
    assert "Exercise “What clipping erases”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c, a, s: erased(c, a, s, clip=(-9, 9)), "clip both"),
        (lambda c, a, s: erased(c, a, s, clip=(0, 9)), "clip at 1 too"),
        (lambda c, a, s: erased(c, a, s, among=False), "not by all"),
        (lambda c, a, s: erased(c, a, s, survive=True), "that survives"),
        (lambda c, a, s: erased(c, a, s)[0], "one share"),
        (lambda c, a, s: 1 - erased(c, a, -s), "one of the three"),
    ],
)
def test_erased_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_erased(wrong)


def through_the_camera(model, images, labels, epsilon, attack=attacks.mi_fgsm, samples=1):
    """An attack on the mean logits of some photographs in each step."""
    lens = torch.Generator().manual_seed(5)
    view = attacks.eot(lambda batch: model(physical.camera(batch, lens, 2.0)), samples=samples)
    settings = {"epsilon": epsilon, "steps": 20, "step_size": epsilon / 8}
    return attack(view, images, labels, **settings).images


def test_cheap_shots(capsys) -> None:
    chapter.check_cheap_shots(through_the_camera)
    assert "Exercise “A cheap way through the camera”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda m, x, y, e: attacks.bim(m, x, y, epsilon=e, steps=20).images, "the bar is 65 %"),
        (lambda *task: through_the_camera(*task, attack=attacks.bim), "the bar is 65 %"),
        (lambda *task: through_the_camera(*task, samples=4), "the budget is 1000 images"),
        (lambda m, x, y, e: (x - 0.4).clamp(0, 1), "the budget is 0.2"),
        (lambda m, x, y, e: x - 0.1, "outside"),
    ],
)
def test_cheap_shots_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_cheap_shots(wrong)
