"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

from functools import partial

import pytest
import torch

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import few_pixels as chapter

CHECKS = [
    chapter.check_count_pixels,
    chapter.check_best_pair,
    chapter.check_restore,
    chapter.check_fewer,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def test_count_pixels(capsys) -> None:
    chapter.check_count_pixels(lambda c, a: (a != c).any(dim=1).flatten(1).sum(dim=1))
    assert "Exercise “Count pixels”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda c, a: (a != c).flatten(1).sum(dim=1), "three channels belong"),
        (lambda c, a: ((a - c).abs() > 0.01).any(dim=1).flatten(1).sum(dim=1), "only 0.001"),
        (lambda c, a: (a > c).any(dim=1).flatten(1).sum(dim=1), "darker"),
        (lambda c, a: (a != c).any(dim=1).sum(), "one count per image"),
    ],
)
def test_count_pixels_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_count_pixels(wrong)


def best_pair(alpha, beta):
    """The right answer to 5.2."""
    rise, fall = alpha[:, None] + alpha, beta[:, None] + beta
    allowed = (rise > 0) & (fall < 0) & ~torch.eye(len(alpha), dtype=torch.bool)
    return divmod(int(torch.where(allowed, -rise * fall, 0.0).argmax()), len(alpha))


def itself(alpha, beta):
    """Forgets the diagonal."""
    rise, fall = alpha[:, None] + alpha, beta[:, None] + beta
    allowed = (rise > 0) & (fall < 0)
    return divmod(int(torch.where(allowed, -rise * fall, 0.0).argmax()), len(alpha))


def unmasked(alpha, beta):
    """Forgets the conditions."""
    rise, fall = alpha[:, None] + alpha, beta[:, None] + beta
    scores = (-rise * fall).fill_diagonal_(-torch.inf)
    return divmod(int(scores.argmax()), len(alpha))


def one_by_one(alpha, beta):
    """The two best pixels, each judged alone."""
    return torch.where((alpha > 0) & (beta < 0), -alpha * beta, 0.0).topk(2).indices


def test_best_pair(capsys) -> None:
    chapter.check_best_pair(best_pair)
    assert "Exercise “The best pair”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (itself, "mask the diagonal"),
        (unmasked, "both signs are wrong"),
        (one_by_one, "conditions are on the sums"),
        (lambda a, b: (a.argmax(),), "two pixels"),
    ],
)
def test_best_pair_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_best_pair(wrong)


def restore(fooled, clean, adversarial):
    """The right answer to 5.3: again and again, until a whole round has reset nothing."""
    found, moved = adversarial.clone(), True
    while moved:
        moved = False
        for place in (found != clean).nonzero().tolist():
            trial = found.clone()
            trial[tuple(place)] = clean[tuple(place)]
            if fooled(trial):
                found, moved = trial, True
    return found


def blindly(fooled, clean, adversarial):
    """Resets what can be reset in the image given, all at once."""
    found = adversarial.clone()
    for place in (adversarial != clean).nonzero().tolist():
        trial = adversarial.clone()
        trial[tuple(place)] = clean[tuple(place)]
        if fooled(trial):
            found[tuple(place)] = clean[tuple(place)]
    return found


def in_place(fooled, clean, adversarial):
    """Edits the image it was given."""
    adversarial.copy_(restore(fooled, clean, adversarial))
    return adversarial


def half(fooled, clean, adversarial):
    """Stops after the first pixel."""
    found = adversarial.clone()
    found[0, 0] = 0.0
    return found


def one_round(fooled, clean, adversarial, *, backwards=False):
    """Visits every pixel once, although an early one may become free later."""
    found = adversarial.clone()
    for place in sorted((found != clean).nonzero().tolist(), reverse=backwards):
        trial = found.clone()
        trial[tuple(place)] = clean[tuple(place)]
        found = trial if fooled(trial) else found
    return found


def to_white(fooled, clean, adversarial):
    """Takes ink away instead of going back to the clean image."""
    return restore(fooled, torch.zeros_like(clean), adversarial)


def test_restore(capsys) -> None:
    chapter.check_restore(restore)
    assert "Exercise “Take back what is not needed”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (blindly, "no longer fools"),
        (in_place, "do not change the given image"),
        (half, "can still be reset"),
        (one_round, "can still be reset"),
        (partial(one_round, backwards=True), "can still be reset"),
        (to_white, "can still be reset"),
        (lambda f, c, a: c, "no longer fools"),
        (lambda f, c, a: a[0], "return an image"),
    ],
)
def test_restore_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_restore(wrong)


def test_fewer(capsys) -> None:
    chapter.check_fewer(lambda m, x, y: attacks.sigma_zero(m, x, y, steps=148).images)
    assert "Exercise “A quarter fewer pixels”: right" in capsys.readouterr().out


def jsma_restored(model, images, labels):
    """One pixel of JSMA at a time, and then every pixel back that is not needed."""
    found = attacks.jsma(model, images, labels, pixels=1).images
    for clean, image, label in zip(images, found, labels, strict=True):
        for place in (image != clean).nonzero().tolist():
            trial = image.clone()
            trial[tuple(place)] = clean[tuple(place)]
            if model(trial[None]).argmax() != label:
                image.copy_(trial)
    return found


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (
            lambda m, x, y: attacks.sigma_zero(m, x, y, steps=300).images,
            "the budget is 3750 images",
        ),
        (lambda m, x, y: attacks.jsma(m, x, y, pixels=1).images, "you change"),
        (jsma_restored, "you change"),
        (lambda m, x, y: x, "still classified correctly"),
        (lambda m, x, y: x - 0.1, "outside"),
    ],
)
def test_fewer_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_fewer(wrong)
