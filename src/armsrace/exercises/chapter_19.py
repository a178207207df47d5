"""Checks of chapter 19: the worst case over attacks, a median with failures, a small arsenal."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from armsrace.exercises import Exercise


def check_union(answer: object) -> None:
    """Judge `robust_share(sizes, budgets)`: the share of images that no attack in any norm beats.

    sizes: {norm: (A, N) array}, how far each of A attacks had to move each of N images in that
    norm, infinite where it failed. budgets: {norm: number}. Returns a share.
    """
    far = math.inf
    sizes = {
        "linf": np.array([[0.2, far, 0.9, 0.4], [far, 0.5, far, 0.8]]),
        "l2": np.array([[far, 1.0, 4.0, 2.0], [far, 9.0, far, 1.6]]),
    }
    budgets = {"linf": 0.3, "l2": 1.5}
    exercise = Exercise("19.1")
    solve = exercise.solution(answer, sizes, budgets)
    if solve is None:
        return
    found = float(solve(sizes, budgets))
    exercise.require(0 <= found <= 1, "return a share, between 0 and 1.")
    exercise.require(
        not math.isclose(found, 0.75),
        "an image is beaten where it is beaten in one norm: it need not be in all of them.",
    )
    exercise.require(
        math.isclose(found, 0.5),
        "the first image falls in L∞, the second in L2, the last two to nobody: "
        f"your share is {found:.2f}.",
    )
    edge = {"linf": np.array([[0.3]])}
    exercise.require(
        float(solve(edge, {"linf": 0.3})) == 0, "a perturbation of exactly the budget is allowed."
    )
    exercise.confirm("Each attack and each norm can only lower it.")


def check_median(answer: object) -> None:
    """Judge `median_size(sizes)`: the median over images of the least size over attacks.

    sizes: (A, N) array, infinite where an attack failed.
    """
    far = math.inf
    sizes = np.array([[1.0, far, 3.0, far, 0.0], [2.0, 5.0, far, far, 4.0]])
    exercise = Exercise("19.2")
    solve = exercise.solution(answer, sizes)
    if solve is None:
        return
    found = float(solve(sizes))
    exercise.require(not math.isnan(found), "∞ − ∞ is no number: compare, do not subtract.")
    exercise.require(
        not math.isclose(found, 2.0),
        "images that no attack beats count, as infinitely far; leaving them out makes a defense "
        "look weaker the stronger it is.",
    )
    exercise.require(
        math.isclose(found, 3.0),
        f"the nearest are 1, 5, 3, ∞ and 0, so the median is 3, not {found:g}.",
    )
    exercise.require(
        math.isinf(float(solve(sizes[:1, 1:4]))),
        "where more than half withstand, the median is infinite.",
    )
    exercise.confirm("A median needs no distance where the attack failed; a mean would.")


def check_arsenal(answer: object) -> None:
    """Judge `arsenal(beaten)`: few attacks that beat all that any attack beats, greedily.

    beaten: {attack: (N,) bool array}. Returns names in the order taken: each time the one that
    beats most images that are not beaten yet, the first of equals, until none beats any.
    """
    rows = {
        "first": [1, 1, 0, 0, 0, 0, 0],
        "second": [0, 1, 1, 1, 0, 0, 0],
        "third": [1, 1, 0, 0, 1, 0, 0],
        "fourth": [0, 0, 0, 0, 0, 0, 0],
        "fifth": [0, 0, 1, 1, 0, 1, 0],
    }
    beaten = {name: np.array(row, dtype=bool) for name, row in rows.items()}
    kept = {name: row.copy() for name, row in beaten.items()}
    exercise = Exercise("19.3")
    solve = exercise.solution(answer, beaten)
    if solve is None:
        return
    given = solve(beaten)
    exercise.require(
        all(np.array_equal(beaten[name], kept[name]) for name in kept),
        "leave the arrays that you were given as they are.",
    )
    exercise.require(
        isinstance(given, Iterable) and set(given) <= set(beaten), "return names of attacks."
    )
    found = list(given)
    covered = np.any([beaten[name] for name in found] or [beaten["fourth"]], axis=0)
    exercise.require(
        bool(covered.sum() == 6), "some image that an attack beats is beaten by none of yours."
    )
    exercise.require(
        found[:1] == ["third"] or found[:1] == ["second"] or len(found) < len(beaten) - 1,
        "count only images that are not beaten yet, and stop when no attack adds any.",
    )
    exercise.require(
        found == ["second", "third", "fifth"],
        "second, third and fifth beat three each: take the first of equals, then count anew what "
        f"is left. You took {', '.join(found)}.",
    )
    exercise.confirm("Greedy is not always least: third and fifth alone would have done.")
