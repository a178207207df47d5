"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch
from scipy import stats
from torch import nn

from armsrace.exercises import ExerciseError
from armsrace.exercises import proofs as chapter

CHECKS = [
    chapter.check_dual, chapter.check_box, chapter.check_tangent, chapter.check_certify,
    chapter.check_break, chapter.check_slopes,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [lambda *_: None, lambda *_: ...])
def test_an_empty_function_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def certify(first, second, sigma, alpha, halved=1, chosen=None):
    """The right answer to the second exercise."""
    label = int((first if chosen is None else chosen).argmax())
    hits, draws = int(second[label]), int(second.sum())
    lower = stats.beta.ppf(alpha / halved, hits, draws - hits + 1) if hits else 0.0
    return (label, sigma * stats.norm.ppf(lower)) if lower > 0.5 else (-1, 0.0)


def plain(first, second, sigma, alpha):
    """The fraction in place of its bound."""
    share = float(second.max() / second.sum())
    return 1, sigma * stats.norm.ppf(min(share, 1 - 1e-12))


def endless(first, second, sigma, alpha):
    """1 where all draws agree."""
    label, radius = certify(first, second, sigma, alpha)
    return label, float("inf") if second[1] == second.sum() else radius


def never_abstains(first, second, sigma, alpha):
    label, radius = certify(first, second, sigma, alpha)
    return max(label, 0), radius


def toward(points, weights, bias, radii, longer=1.0, back=1.0):
    """The right answer to the third exercise: straight at the boundary."""
    side = torch.where(points @ weights + bias > 0, -1.0, 1.0)
    return back * longer * (0.9999 * radii * side)[:, None] * weights / weights.norm()


def least(value, slope, point, low, high):
    """The right answer to the exercise on tangents."""
    return value + torch.minimum(slope * (low - point), slope * (high - point)).sum()


def smaller_area(bound):
    """1 where the input is positive more often than not."""
    return [(high > -low).to(low) for low, high in bound.boxes]


RIGHT = {
    "A dual by hand": (chapter.check_dual, lambda: (0.8284271, 1.1715729)),
    "The least value of a tangent": (chapter.check_tangent, least),
    "A box by hand": (chapter.check_box, lambda: (-1, 2, 0, 1)),
    "Certify by counting": (chapter.check_certify, certify),
    "Break a false certificate": (chapter.check_break, toward),
    "Better than boxes": (chapter.check_slopes, smaller_area),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, capsys) -> None:
    check, answer = RIGHT[name]
    check(answer)
    assert f"Exercise “{name}”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (chapter.check_dual, lambda: 0.83, "two numbers"),
        (chapter.check_dual, lambda: (1, 1.1547), "not the best one"),
        (chapter.check_dual, lambda: (0.7, 1.17), "derivative in s"),
        (chapter.check_dual, lambda: (0.8284, 1.3726), "squared distance"),
        (chapter.check_dual, lambda: (0.8284, 1.2), "the square root of"),
        (
            chapter.check_tangent,
            lambda v, g, p, low, high: least(v, g, 0 * p, low, high),
            "measure each end from there",
        ),
        (chapter.check_tangent, lambda v, *_: v, "smaller product"),
        (chapter.check_tangent, lambda *a: least(*a) - 0.1, "a weak one"),
        (chapter.check_box, lambda: (-1, 2), "four numbers"),
        (chapter.check_box, lambda: (-2, 3, 0, 1), "both ends of each unit"),
        (chapter.check_box, lambda: (0, 1, 0, 1), "as if independent"),
        (chapter.check_box, lambda: (-1, 1, 0, 1), "least h₁ − greatest h₂"),
        (chapter.check_box, lambda: (-1, 2, 0, 2), "as long as s <= 1"),
        (chapter.check_certify, lambda *_: 3, "the class and the radius"),
        (chapter.check_certify, plain, "too large about half"),
        (chapter.check_certify, endless, "its probability is not 1"),
        (chapter.check_certify, lambda *a: certify(*a, halved=2), "one-sided"),
        (chapter.check_certify, lambda f, s, *a: certify(f, s, *a, chosen=s), "first draws alone"),
        (chapter.check_certify, never_abstains, "abstain"),
        (chapter.check_certify, lambda *a: (certify(*a)[0], 0.7), "the radius is"),
        (chapter.check_break, lambda p, w, b, r: p[:1], "one perturbation per point"),
        (chapter.check_break, lambda *a: toward(*a, longer=2), "within the claimed"),
        (chapter.check_break, lambda *a: toward(*a, back=-1), "along w"),
        (chapter.check_break, lambda *a: toward(*a, longer=0.5), "reach the boundary"),
        (chapter.check_slopes, lambda b: smaller_area(b)[:1], "a list of"),
        (chapter.check_slopes, lambda b: [2 * part for part in smaller_area(b)], "outside"),
        (chapter.check_slopes, lambda b: [0 * part for part in smaller_area(b)], "the bar is"),
    ],
)
def test_hints(check, wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(wrong)


def test_false_certificate_is_false_and_the_true_one_is_not(capsys) -> None:
    """What the last exercise shows: many of one kind of radius, hardly any of the other."""
    points, weights, bias, votes = chapter._linear_votes(400)
    true = (points @ weights + bias).abs() / weights.norm()
    assert (chapter.careless_radius(votes) > true).double().mean() > 0.3
    hits = votes.amax(dim=1)
    lower = torch.as_tensor(stats.beta.ppf(0.001, hits, chapter.DRAWS - hits + 1)).clamp_min(0.5)
    assert (chapter.SIGMA * torch.special.ndtri(lower) > true).sum() <= 3


def test_sloped_bounds_hold() -> None:
    """Any slopes: below the margin of each image in the box, and exact where the box is a point."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 10),
    ).double().requires_grad_(False)  # fmt: skip
    images = torch.rand(5, 1, 8, 8).double()
    labels = network(images).argmax(1)
    bound = chapter.SlopedBound(network, images, labels, 0.05)
    for kind in (torch.zeros_like, torch.ones_like, torch.rand_like):
        least = bound([kind(low) for low, _ in bound.boxes])
        for _ in range(30):
            moved = bound.lower + torch.rand_like(images).round() * (bound.upper - bound.lower)
            logits = network(moved)
            margins = logits.gather(1, labels[:, None]) - logits
            assert (margins.scatter(1, labels[:, None], torch.inf) >= least - 1e-9).all()
    point = chapter.SlopedBound(network, images, labels, 0.0)
    exact = network(images).gather(1, labels[:, None]) - network(images)
    found = point([torch.rand_like(low) for low, _ in point.boxes])
    assert torch.allclose(found, exact.scatter(1, labels[:, None], torch.inf))
