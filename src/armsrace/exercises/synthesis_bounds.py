"""Checks of the exercises on bounds for ABS: the closed bound, its floor, a bisection."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from armsrace.exercises import Exercise


def check_closed(answer: object) -> None:
    """Check `closed(costs, residual, label)`: the closed-form bound of one image, a number >= 0.

    costs: (K,). residual: r of the true class. label: the true class, an int.
    """
    costs, residual = torch.tensor([9.0, 4.0, 16.0]), 1.5
    exercise = Exercise("The closed bound")
    solve = exercise.solution(answer, costs, residual, 1)
    if solve is None:
        return
    found = float(solve(costs, residual, 1))
    exercise.require(
        math.isfinite(found), "the true class itself has a gap of 0: leave it out of the minimum."
    )
    exercise.require(
        abs(found - 12 / 11) > 1e-4, "take the minimum over the other classes, not the maximum."
    )
    exercise.require(abs(found) > 1e-6, "the true class itself has a gap of 0: leave it out.")
    exercise.require(
        abs(found - 5 / 9) < 1e-4, "it is the minimum over c of (L_c − L_y) / (2 (√L_c + r))."
    )
    misclassified = float(solve(costs, residual, 0))
    exercise.require(
        misclassified == 0, "nothing is certified for a misclassified image: return 0."
    )
    exercise.confirm("Two costs and one radius certify a whole ball.")


def check_floor(answer: object) -> None:
    """Check `floor(distances, prices, epsilon)`: min of max(0, ρ − ε)² + κ over candidates (S,)."""
    distances, prices = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([0.2, 1.0, 0.0])
    exercise = Exercise("The floor behind the tight form")
    solve = exercise.solution(answer, distances, prices, 0.1)
    if solve is None:
        return
    for epsilon in (0.0, 0.1, 1.0, 2.5):
        right = float(((distances - epsilon).clamp_min(0) ** 2 + prices).min())
        found = float(solve(distances, prices, epsilon))
        exercise.require(
            abs(found - float(((distances - epsilon) ** 2 + prices).min())) > 1e-6
            or abs(found - right) < 1e-6,
            "a reconstruction within ε has distance 0, and not less: use max(0, ρ − ε).",
        )
        exercise.require(
            abs(found - right) < 1e-5,
            f"at ε = {epsilon} the floor is {right:.3f}, yours {found:.3f}.",
        )
    exercise.confirm("The nearest reconstruction need not be the cheapest explanation.")


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
            f"after {halvings} steps from 1 it must be within {2.0**-halvings:.4f} of {limit}.",
        )
        exercise.require(
            len(tried) <= halvings + 2, "each step takes one evaluation of `certified`."
        )
    exercise.confirm("The ceiling rises with ε and the floor falls, so they meet once.")
