"""Checks of chapter 18: the closed bound, the floor behind the tight one, a bisection."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from armsrace.exercises import Exercise


def check_closed(answer: object) -> None:
    """Judge `closed(costs, residual, label)`: the closed bound of one image, a number >= 0.

    costs: (K,). residual: r of the true class. label: the true class, an int.
    """
    costs, residual = torch.tensor([9.0, 4.0, 16.0]), 1.5
    exercise = Exercise("18.1")
    solve = exercise.solution(answer, costs, residual, 1)
    if solve is None:
        return
    found = float(solve(costs, residual, 1))
    exercise.require(
        math.isfinite(found), "the true class itself has a gap of 0: leave it out of the minimum."
    )
    exercise.require(
        abs(found - 12 / 11) > 1e-4, "the smallest over the other classes, not the largest."
    )
    exercise.require(abs(found) > 1e-6, "the true class itself has a gap of 0: leave it out.")
    exercise.require(
        abs(found - 5 / 9) < 1e-4, "(L_c − L_y) over twice (√L_c + r), the least over c."
    )
    misread = float(solve(costs, residual, 0))
    exercise.require(misread == 0, "for an image that is misread nothing is certified: 0.")
    exercise.confirm("Two costs and one radius certify a whole ball.")


def check_floor(answer: object) -> None:
    """Judge `floor(distances, prices, epsilon)`: min of max(0, ρ − ε)² + κ over candidates (S,)."""
    distances, prices = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([0.2, 1.0, 0.0])
    exercise = Exercise("18.2")
    solve = exercise.solution(answer, distances, prices, 0.1)
    if solve is None:
        return
    for epsilon in (0.0, 0.1, 1.0, 2.5):
        right = float(((distances - epsilon).clamp_min(0) ** 2 + prices).min())
        found = float(solve(distances, prices, epsilon))
        exercise.require(
            abs(found - float(((distances - epsilon) ** 2 + prices).min())) > 1e-6
            or abs(found - right) < 1e-6,
            "a drawing within ε can be reached, and no more than reached: max(0, ρ − ε).",
        )
        exercise.require(
            abs(found - right) < 1e-5,
            f"at ε = {epsilon} the floor is {right:.3f}, yours {found:.3f}.",
        )
    exercise.confirm("The nearest drawing need not be the cheapest explanation.")


def check_bisection(answer: object) -> None:
    """Judge `largest(certified, high, halvings)`: the last ε in [0, high] found certified.

    certified: ε to bool, true up to some ε and false beyond; `largest` must return a certified ε.
    """
    asked: list[float] = []

    def up_to(limit: float) -> Callable[[float], bool]:
        def certified(epsilon: float) -> bool:
            asked.append(epsilon)
            return epsilon <= limit

        return certified

    exercise = Exercise("18.3")
    solve = exercise.solution(answer, up_to(0.3), 1.0, 3)
    if solve is None:
        return
    for limit, halvings in ((0.3, 12), (0.007, 12), (0.9, 5)):
        asked.clear()
        found = float(solve(up_to(limit), 1.0, halvings))
        exercise.require(
            found <= limit,
            f"{found:.4f} is not certified where {limit} is the limit: return the lower end.",
        )
        exercise.require(
            limit - found <= 2.0**-halvings + 1e-9,
            f"after {halvings} halvings of 1 it is at most {2.0**-halvings:.4f} below {limit}.",
        )
        exercise.require(len(asked) <= halvings + 2, "each halving takes one question.")
    exercise.confirm("The ceiling rises with ε and the floor falls: they meet once.")
