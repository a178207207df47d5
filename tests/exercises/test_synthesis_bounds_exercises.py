"""Right answers pass, wrong ones get the hint they need, empty ones are not judged."""

import pytest
import torch

from armsrace.exercises import ExerciseError
from armsrace.exercises import synthesis_bounds as chapter

CHECKS = [
    chapter.check_bisection,
    chapter.check_weighted,
    chapter.check_half_space,
    chapter.check_nearer_by_planes,
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("answer", [None, ..., lambda *_: None, lambda *_: ...])
def test_nothing_is_not_judged(check, answer, capsys) -> None:
    check(answer)
    assert "not attempted yet" in capsys.readouterr().out


def largest(certified, high, halvings):
    """The lower end of a bisection."""
    low = 0.0
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if certified(middle) else (low, middle)
    return low


def upper(certified, high, halvings):
    """The end that is not certified."""
    low = 0.0
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (middle, high) if certified(middle) else (low, middle)
    return high


def meetings(costs, residual, factors, label):
    """Where each class's lower bound meets the upper bound."""
    f, f_y = factors, factors[label]
    gap = f * costs - f_y * costs[label]
    slope = 2 * (f * costs.sqrt() + f_y * residual)
    return 2 * gap / (slope + (slope**2 - 4 * (f - f_y) * gap).sqrt())


def weighted(costs, residual, factors, label):
    """The smallest of them among the other classes."""
    others = torch.arange(len(costs)) != label
    return meetings(costs, residual, factors, label)[others].min().clamp_min(0)


def without_factors(costs, residual, factors, label):
    """The ratio of the page."""
    return weighted(costs, residual, torch.ones_like(factors), label)


def to_half_space(image, normal, gap):
    """δ = λ a, clipped to the box, with λ by bisection."""
    ends = torch.where(normal > 0, 1 - image, -image)
    if float(normal @ ends) < gap:
        return float("inf")
    low, high = 0.0, 1.0

    def moved(rate):
        return (rate * normal).clamp(-image, 1 - image)

    while float(normal @ moved(high)) < gap:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if float(normal @ moved(middle)) >= gap else (middle, high)
    return float(moved(high).norm())


def project(points, conditions, rounds=60):
    """Dykstra: the nearest points (N, D) of the box with a·(p − x) ≥ b for each (a, b)."""
    start, moved = points, points
    kept = [torch.zeros_like(points) for _ in range(len(conditions) + 1)]
    for _ in range(rounds):
        for j, (a, b) in enumerate(conditions):
            full = moved + kept[j]
            short = (b - ((full - start) * a).sum(1)).clamp_min(0) / a.square().sum(1).clamp_min(
                1e-9
            )
            moved = full + short[:, None] * a
            kept[j] = full - moved
        full = moved + kept[-1]
        moved = full.clamp(0, 1)
        kept[-1] = full - moved
    return moved


def planes(explain, images, labels, rivals=3):
    """Cutting planes: hold drawings of the true class, project, explain, hold one more."""
    rows, flat = torch.arange(len(images)), images.flatten(1)
    best, size = images.clone(), torch.full((len(images),), torch.inf)
    costs, drawn = explain(images)
    order = costs.scatter(1, labels[:, None], torch.inf).argsort(1)

    def kept(drawing, cost, at):
        """A drawing and its cost at the clean image."""
        own = cost - (at - drawing).square().sum(1)
        return drawing, (flat - drawing).square().sum(1) + own

    for k in range(rivals):
        rival = order[:, k]
        held = [kept(drawn[rows, labels], costs[rows, labels], flat)]
        other = kept(drawn[rows, rival], costs[rows, rival], flat)
        for _ in range(6):
            conditions = [(2 * (other[0] - g), other[1] - cost + 1e-3) for g, cost in held]
            moved = project(flat, conditions)
            new_costs, new = explain(moved.view_as(images))
            distance = (moved - flat).norm(dim=1)
            hit = (new_costs.argmin(1) != labels) & (distance < size)
            best[hit], size[hit] = moved.view_as(images)[hit], distance[hit]
            held.append(kept(new[rows, labels], new_costs[rows, labels], moved))
            other = kept(new[rows, rival], new_costs[rows, rival], moved)
    return best


def too_far(explain, images, labels):
    """Past the boundary, without need."""
    return images + 1.05 * (planes(explain, images, labels) - images)


RIGHT = {
    "Where they meet": (chapter.check_bisection, largest),
    "Class factors": (chapter.check_weighted, weighted),
    "A half-space and a box": (chapter.check_half_space, to_half_space),
    "Nearer than DDN": (chapter.check_nearer_by_planes, planes),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, capsys) -> None:
    check, answer = RIGHT[name]
    check(answer)
    assert f"Exercise “{name}”: right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "hint"),
    [
        (chapter.check_bisection, upper, "return the lower end"),
        (chapter.check_bisection, lambda c, h, n: 0.0, "halvings of"),
        (chapter.check_bisection, lambda c, h, n: largest(c, h, 3 * n), "one evaluation"),
        (chapter.check_weighted, lambda c, r, f, y: meetings(c, r, f, y).min(), "leave it out"),
        (chapter.check_weighted, lambda c, r, f, y: meetings(c, r, f, y).max(), "not the maximum"),
        (chapter.check_weighted, lambda c, r, f, y: 2 * weighted(c, r, f, y), "closed bound"),
        (chapter.check_weighted, without_factors, "do not cancel"),
        (
            chapter.check_weighted,
            lambda c, r, f, y: meetings(c, r, f, y)[torch.arange(3) != y].min(),
            "misclassified image",
        ),
        (chapter.check_half_space, lambda x, a, b: b, "stops no pixel"),
        (
            chapter.check_half_space,
            lambda x, a, b: b / float(a.norm()),
            "the others must move further",
        ),
        (
            chapter.check_half_space,
            lambda x, a, b: min(to_half_space(x, a, b), 9.0),
            "no image in the box",
        ),
        (chapter.check_nearer_by_planes, lambda e, x, y: x, "all must be"),
        (
            chapter.check_nearer_by_planes,
            lambda e, x, y: too_far(e, x, y).clamp(0, 1),
            "the bar is 99 %",
        ),
        (chapter.check_nearer_by_planes, lambda e, x, y: planes(e, x, y, 9), "the budget is 600"),
        (chapter.check_nearer_by_planes, lambda e, x, y: x + 1, "outside"),
    ],
)
def test_hints(check, wrong, hint: str) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(wrong)
