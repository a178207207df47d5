"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises import deep_image_prior as chapter

CHECKS = [
    chapter.check_drawing,
    chapter.check_stop,
    chapter.check_through,
    chapter.check_three_stops,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def drawing(kernel, image, rate, steps):
    """Correction by correction."""
    drawn = torch.zeros_like(image)
    for _ in range(steps):
        drawn = drawn + rate * kernel @ (image - drawn)
    return drawn


def without_residual(kernel, image, rate, steps):
    """The whole image at every step."""
    return rate * steps * kernel @ image


def test_drawing(capsys) -> None:
    chapter.check_drawing(drawing)
    assert "Exercise “Draw with a fixed kernel”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda k, x, r, s: drawing(k, x, r, s).sum(), "one image"),
        (lambda k, x, r, s: drawing(k, x, r, s + 1), "after 0 steps"),
        (lambda k, x, r, s: drawing(k, x, 1.0, s), "by the rate"),
        (lambda k, x, r, s: drawing(torch.eye(len(x)).to(k), x, r, s), "the first step adds"),
        (without_residual, "wrong after 2"),
    ],
)
def test_drawing_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_drawing(wrong)


def first_within(residuals, tolerance, strict=False):
    """The first of the steps that are near enough."""
    near = residuals < tolerance if strict else residuals <= tolerance
    near = torch.cat([near[:-1], torch.ones_like(near[-1:])])
    return near.int().argmax(dim=0)


def test_stop(capsys) -> None:
    chapter.check_stop(first_within)
    assert "Exercise “Stop”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda r, t: first_within(r, t)[0], "one step per image"),
        (lambda r, t: first_within(r, t, strict=True), "use <="),
        (lambda r, t: torch.full((3,), len(r) - 1), "not the last one"),
        (lambda r, t: torch.full((3,), int(first_within(r, t)[0])), "on its own"),
        (lambda r, t: (r <= t).int().argmax(dim=0), "takes all steps"),
    ],
)
def test_stop_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_stop(wrong)


def through(weights, prior, epsilon):
    """Down the gradient of the score of the drawing."""
    slope = prior.T @ weights
    return -epsilon * slope / slope.norm()


def test_through(capsys) -> None:
    chapter.check_through(through)
    assert "Exercise “Attack through the prior”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda w, m, e: through(w, m, e)[:3], "one δ of shape"),
        (lambda w, m, e: through(w, m, 2 * e), "use the whole budget"),
        (lambda w, m, e: -through(w, m, e), "check the sign"),
        (lambda w, m, e: -e * w / w.norm(), "the score alone"),
        (lambda w, m, e: through(w, m.T, e), "its transpose"),
        (lambda w, m, e: -e * torch.sign(m.T @ w) / len(w) ** 0.5, "linear in δ"),
    ],
)
def test_through_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_through(wrong)


def by_pgd(model, images, labels, epsilon):
    """Twenty steps from the clean image."""
    settings = {"epsilon": epsilon, "norm": "l2", "steps": 20, "random_start": False}
    return attacks.pgd(model, images, labels, **settings).images


def all_three(defenses, images, labels, epsilon):
    """The mean probability of each class over the stops."""

    def mean(batch):
        logs = torch.stack([each(batch).log_softmax(dim=1) for each in defenses])
        return logs.logsumexp(dim=0)

    return by_pgd(mean, images, labels, epsilon)


def test_three_stops(capsys) -> None:
    chapter.check_three_stops(all_three)
    assert "Exercise “One perturbation, three stops”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda d, x, y, e: by_pgd(d[1], x, y, e), "the bar is 30"),
        (lambda d, x, y, e: by_pgd(d[1], x, y, 2 * e), "the budget is 1.5"),
        (lambda d, x, y, e: x + 0.1, "outside"),
        (lambda d, x, y, e: x * torch.nan, "not a number"),
        (lambda d, x, y, e: x[0], "shape"),
    ],
)
def test_three_stops_hints(wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        chapter.check_three_stops(wrong)


def test_the_smooth_prior_is_the_linear_prior_of_its_kernel() -> None:
    prior, images = chapter.SmoothPrior(6), torch.rand(2, 1, 6, 6)
    places = torch.arange(6.0)
    one = torch.exp(-((places[:, None] - places).square()) / 8)
    kernel = torch.kron(one, one) / torch.linalg.eigvalsh(one).max() ** 2
    matrix = chapter.linear_prior(kernel.double(), 1.0, 9)
    expected = (images.flatten(1).double() @ matrix.T).view_as(images).float()
    assert torch.allclose(prior(images, 9), expected, atol=1e-4)
