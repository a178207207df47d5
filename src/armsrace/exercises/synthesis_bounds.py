"""Checks of the exercises on bounds for ABS: a bisection, factors, a half-space, a challenge."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator

from armsrace import attacks, datasets
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.exercises.analysis_by_synthesis import stored_drawings
from armsrace.norms import distances


def check_bisection(answer: object) -> None:
    """Check `largest(certified, high, halvings)`: a certified ε in [0, high], found by bisection.

    certified: ε to bool, True up to some ε and False beyond. The result must be certified.
    """
    tried: list[float] = []

    def up_to(limit: float) -> Callable[[float], bool]:
        def certified(epsilon: float) -> bool:
            tried.append(epsilon)
            return epsilon <= limit

        return certified

    exercise = Exercise("Where they meet")
    solve = exercise.solution(answer, up_to(0.3), 1.0, 3)
    if solve is None:
        return
    for limit, halvings in ((0.3, 12), (0.007, 12), (0.9, 5)):
        tried.clear()
        found = float(solve(up_to(limit), 1.0, halvings))
        exercise.require(
            found <= limit,
            f"{found:.4f} is not certified if the limit is {limit}: return the lower end.",
        )
        exercise.require(
            limit - found <= 2.0**-halvings + 1e-9,
            f"after {halvings} halvings of [0, 1], be within {2.0**-halvings:.4f} of {limit}.",
        )
        exercise.require(
            len(tried) <= halvings + 2, "each step takes one evaluation of `certified`."
        )
    exercise.confirm("The upper bound rises with ε and the lower bound falls, so they meet once.")


def check_weighted(answer: object) -> None:
    """Check `weighted(costs, residual, factors, label)`: the closed bound with class factors.

    costs: (K,), without the factors. residual: r of the true class. factors: (K,). label: the true
    class, an int. The result is a number >= 0: the least ε at
    which the floor of another class meets the ceiling.
    """
    exercise = Exercise("Class factors")
    costs, residual = torch.tensor([9.0, 4.0, 16.0]).double(), 1.5
    cases = (
        torch.tensor(row).double()
        for row in ([1, 1, 1], [1.1, 1, 1.2], [0.9, 1, 0.95], [1, 1.2, 1.1])
    )
    even, *others = cases
    solve = exercise.solution(answer, costs, residual, even, 1)
    if solve is None:
        return
    found = float(solve(costs, residual, even, 1))
    exercise.require(
        math.isfinite(found) and abs(found) > 1e-6,
        "the true class itself has a gap of 0: leave it out of the minimum.",
    )
    exercise.require(
        abs(found - 12 / 11) > 1e-4, "take the minimum over the other classes, not the maximum."
    )
    exercise.require(
        abs(found - 5 / 9) < 1e-6,
        f"with equal factors it is the chapter's closed bound, {5 / 9:.4f}; yours is {found:.4f}.",
    )
    for factors in others:
        found = float(solve(costs, residual, factors, 1))
        exercise.require(
            math.isfinite(found), f"with factors {factors.tolist()} your result is not finite."
        )
        ceiling = factors[1] * ((residual + found) ** 2 + costs[1] - residual**2)
        floors = factors * (costs.sqrt() - found).clamp_min(0) ** 2
        gap = float(torch.stack([floors[0], floors[2]]).min() - ceiling)
        exercise.require(
            abs(gap) < 1e-6,
            f"with factors {factors.tolist()}, at your ε = {found:.4f}, the lowest lower bound is "
            f"above the upper bound by {gap:.4f}, not 0. The squares of ε do not cancel; which "
            "root is below √L_c?",
        )
    exercise.require(
        float(solve(costs, residual, even, 0)) == 0,
        "nothing is certified for a misclassified image: return 0.",
    )
    exercise.confirm("With class factors a quadratic equation takes the place of a ratio.")


def check_half_space(answer: object) -> None:
    """Check `to_half_space(image, normal, gap)`: the least ‖δ‖₂ with normal·δ >= gap in the box.

    image: (D,) in [0, 1]. normal: (D,). gap: above 0. Without such an
    image in the box the result is ∞.
    """
    exercise = Exercise("A half-space and a box")
    image = torch.tensor([0.5, 0.9, 0.2, 0.0]).double()
    normal = torch.tensor([1.0, 2.0, 0.0, -3.0]).double()
    solve = exercise.solution(answer, image, normal, 0.1)
    if solve is None:
        return
    middle = torch.full((3,), 0.5).double()
    free = float(solve(middle, torch.tensor([3.0, 0.0, 4.0]).double(), 1.0))
    exercise.require(
        abs(free - 0.2) < 1e-6,
        f"if the box stops no pixel, it is gap / ‖normal‖, 0.2 here; yours is {free:.4f}.",
    )
    # The last pixel is black and cannot fall; with gap 0.5 the second one is stopped at white.
    for gap, right in ((0.1, 0.1 / 5**0.5), (0.5, (0.3**2 + 0.1**2) ** 0.5)):
        found = float(solve(image, normal, gap))
        exercise.require(
            abs(found - right) < 1e-6,
            f"with gap = {gap} it is {right:.4f}; yours is {found:.4f}. A pixel at the edge of the "
            "box stops, and the others must move further.",
        )
    exercise.require(
        math.isinf(float(solve(image, normal, 1.0))), "no image in the box is that far: return ∞."
    )
    exercise.confirm("A black pixel cannot be made blacker, so the bound grows.")


def check_nearer_by_planes(answer: object) -> None:
    """Check `attack(explain, images, labels)`: adversarial images (N, 1, 28, 28), near ones.

    explain: `StoredDrawings.explain` of at most 30 images per digit. The mean ‖δ‖₂ must be at most
    99 % of what DDN finds with 60 gradients per digit.
    """
    exercise = Exercise("Nearer than DDN")
    model = stored_drawings()
    sample = datasets.load("mnist", "test").take(300, Generator().manual_seed(6))
    right = model.explain(sample.images)[0].argmin(1) == sample.labels
    images, labels = sample.images[right][:20], sample.labels[right][:20]
    metered = Metered(exercise, model.explain, 30 * len(images))  # type: ignore[arg-type]
    solve = exercise.solution(answer, metered, images[:1], labels[:1])
    if solve is None:
        return
    metered.shown = 0
    found = solve(metered, images.clone(), labels.clone())
    moved = require_budget(exercise, images, found, 1.0)
    fooled = model.explain(moved)[0].argmin(1) != labels
    exercise.require(
        bool(fooled.all()),
        f"{int(fooled.sum())} of {len(images)} images are adversarial, and all must be.",
    )
    search = attacks.ddn(lambda batch: -model.explain(batch)[0], images, labels, steps=60)
    ours, theirs = (float(distances(part - images, "l2").mean()) for part in (moved, search.images))
    exercise.require(
        ours <= 0.99 * theirs,
        f"your mean ‖δ‖₂ is {ours:.3f}, DDN's is {theirs:.3f}; the bar is 99 % of it. Each "
        "drawing by the true class gives a half-space. Which point of the box is in all "
        "of them?",
    )
    exercise.confirm(f"Your mean ‖δ‖₂ is {ours:.3f}, DDN's with twice the effort {theirs:.3f}.")
