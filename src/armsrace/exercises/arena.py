"""Checks of the exercises on the arena: the worst case, a median, a small arsenal, five attacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from armsrace.evaluation import arena
from armsrace.evaluation.arena import rankings
from armsrace.exercises import Exercise


def check_union(answer: object) -> None:
    """Check `robust_share(sizes, budgets)`: the fraction of images robust to all attacks and norms.

    sizes: {norm: (A, N) array}, the distance that each of A attacks needs for each of N images,
    infinite if it failed. budgets: {norm: number}. The result is a fraction.
    """
    far = math.inf
    sizes = {
        "linf": np.array([[0.2, far, 0.9, 0.4], [far, 0.5, far, 0.8]]),
        "l2": np.array([[far, 1.0, 4.0, 2.0], [far, 9.0, far, 1.6]]),
    }
    budgets = {"linf": 0.3, "l2": 1.5}
    exercise = Exercise("Robust to all")
    solve = exercise.solution(answer, sizes, budgets)
    if solve is None:
        return
    found = float(solve(sizes, budgets))
    exercise.require(0 <= found <= 1, "return a fraction, between 0 and 1.")
    exercise.require(
        not math.isclose(found, 0.75),
        "one norm is enough: an image need not be adversarial in all of them.",
    )
    exercise.require(
        math.isclose(found, 0.5),
        "the first image is broken in L∞, the second in L2, the last two in neither: "
        f"your fraction is {found:.2f}.",
    )
    edge = {"linf": np.array([[0.3]])}
    exercise.require(
        float(solve(edge, {"linf": 0.3})) == 0, "a perturbation of exactly the budget is allowed."
    )
    exercise.confirm("Each additional attack or norm can only lower it.")


def check_median(answer: object) -> None:
    """Check `median_size(sizes)`: the median over images of the minimum distance over attacks.

    sizes: (A, N) array, infinite if an attack failed.
    """
    far = math.inf
    sizes = np.array([[1.0, far, 3.0, far, 0.0], [2.0, 5.0, far, far, 4.0]])
    exercise = Exercise("A median with failures")
    solve = exercise.solution(answer, sizes)
    if solve is None:
        return
    found = float(solve(sizes))
    exercise.require(not math.isnan(found), "∞ − ∞ is NaN: compare, do not subtract.")
    exercise.require(
        not math.isclose(found, 2.0),
        "images on which all attacks fail count as infinitely far. Leaving them out makes a "
        "stronger defense look weaker.",
    )
    exercise.require(
        math.isclose(found, 3.0),
        f"the minima are 1, 5, 3, ∞ and 0, so the median is 3, not {found:g}.",
    )
    exercise.require(
        math.isinf(float(solve(sizes[:1, 1:4]))),
        "if attacks fail on more than half of the images, the median is infinite.",
    )
    exercise.confirm("A median needs no distance for a failed attack. A mean would.")


def check_arsenal(answer: object) -> None:
    """Check `arsenal(beaten)`: few attacks that break all images that any attack breaks, greedily.

    beaten: {attack: (N,) bool array}. The result is a list of names. Each next attack breaks the
    most images that are not broken yet (the first one of a tie), until no attack breaks any.
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
    exercise = Exercise("A small arsenal")
    solve = exercise.solution(answer, beaten)
    if solve is None:
        return
    given = solve(beaten)
    exercise.require(
        all(np.array_equal(beaten[name], kept[name]) for name in kept),
        "do not change the given arrays.",
    )
    exercise.require(
        isinstance(given, Iterable) and set(given) <= set(beaten), "return names of attacks."
    )
    found = list(given)
    covered = np.any([beaten[name] for name in found] or [beaten["fourth"]], axis=0)
    exercise.require(
        bool(covered.sum() == 6), "some image that an attack breaks is not broken by any of yours."
    )
    exercise.require(
        found[:1] == ["third"] or found[:1] == ["second"] or len(found) < len(beaten) - 1,
        "count only images that are not broken yet, and stop when no attack adds any.",
    )
    exercise.require(
        found == ["second", "third", "fifth"],
        "second, third and fifth break three each: take the first of a tie, then count only what "
        f"is left. You took {', '.join(found)}.",
    )
    exercise.confirm("Greedy is not always optimal: third and fifth alone would have been enough.")


def beaten_digits() -> dict[str, np.ndarray]:
    """{attack: (M,) bool}: which of the arena's stored digits each attack beats in any norm.

    M counts the digits of all defenses, one after the other. An attack that a defense has not faced
    beats none of its digits.
    """
    outcomes = rankings.complete(arena.read())
    within = [rankings.within(outcomes, norm) for norm in arena.BUDGETS]
    labels = outcomes["attack"] + "-" + outcomes["norm"]
    rows = outcomes.assign(label=labels, hit=pd.concat(within, axis=1).any(axis=1))
    table = rows.pivot_table(
        index="label", columns=["defense", "image"], values="hit", aggfunc="any", fill_value=False
    )
    table = table.loc[[name for name in arena.ATTACKS if name in table.index]]
    return {str(name): row.to_numpy(dtype=bool) for name, row in table.iterrows()}


def _remaining(beaten: Mapping[str, np.ndarray], names: Iterable[str]) -> int:
    """How many digits none of these attacks beats."""
    return int((~np.any([beaten[name] for name in names], axis=0)).sum())


def check_five(answer: object) -> None:
    """Check `five(beaten)`: five attacks that together leave fewer digits than five greedy choices.

    beaten: {attack: (M,) bool array}, `beaten_digits`. The result is a list of five names.
    """
    exercise = Exercise("Five attacks")
    beaten = beaten_digits()
    solve = exercise.solution(answer, {name: row.copy() for name, row in beaten.items()})
    if solve is None:
        return
    given = solve({name: row.copy() for name, row in beaten.items()})
    exercise.require(
        isinstance(given, Iterable) and set(given) <= set(beaten), "return names of attacks."
    )
    names = list(given)
    exercise.require(len(set(names)) == 5, f"choose five different attacks, not {len(set(names))}.")
    greedy: list[str] = []
    for _ in range(5):
        greedy.append(min(beaten, key=lambda name: _remaining(beaten, [*greedy, name])))
    ours, theirs, least = (_remaining(beaten, part) for part in (names, greedy, beaten))
    count = len(beaten[names[0]])
    exercise.require(
        ours < theirs,
        f"yours leave {ours} of {count} digits, and five greedy choices leave {theirs}: be lower. "
        "What if one of the five is exchanged for another?",
    )
    exercise.confirm(
        f"Five attacks leave {ours} of {count} digits, and all {len(beaten)} leave {least}."
    )
