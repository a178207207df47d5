"""What the outcomes say: who breaks whom, how far away, and which defense stands where.

All accuracies are upper bounds: another attack may find what these did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd

from armsrace.contracts import Norm, check_choice
from armsrace.evaluation.arena.attacks import ATTACKS, BUDGETS
from armsrace.evaluation.arena.cells import NORMS
from armsrace.evaluation.arena.defenses import DEFENSES

ROUNDING = 1e-5
"""A perturbation at the budget may exceed it by float32's rounding, as a share of the budget."""


def sizes(outcomes: pd.DataFrame, norm: Norm) -> pd.Series:
    """‖δ‖ of each row in a norm: infinite where the attack failed, 0 where none was needed."""
    check_choice("norm", norm, NORMS)
    return outcomes[norm].where(outcomes["success"], np.inf)


def within(outcomes: pd.DataFrame, norm: Norm) -> pd.Series:
    """Whether each row's image beats the defense within the norm's budget, whoever found it."""
    return sizes(outcomes, norm) <= BUDGETS[norm] * (1 + ROUNDING)


def complete(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes of the cells that were measured on all digits that any cell was."""
    cells = outcomes.groupby(["defense", "attack", "norm"])["image"]
    return outcomes[cells.transform("nunique") == outcomes["image"].nunique()]


def shared(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes of the attacks that every defense here has met: what may be ranked."""
    met = outcomes.groupby(["attack", "norm"])["defense"].transform("nunique")
    return outcomes[met == outcomes["defense"].nunique()]


def matrix(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Accuracy left by each attack (columns) to each defense (rows) at its own norm's budget.

    NaN where a cell was not measured.
    """
    broken = pd.Series(False, outcomes.index)
    for norm in NORMS:
        own = outcomes["norm"] == norm
        broken[own] = within(outcomes[own], norm)
    label = outcomes["attack"] + "-" + outcomes["norm"]
    rates = 1 - broken.groupby([outcomes["defense"], label]).mean().unstack()
    return rates.reindex(index=_declared(rates.index), columns=_attacks(rates.columns))


def nearest(outcomes: pd.DataFrame, norm: Norm) -> pd.DataFrame:
    """The least size in a norm that any attack found: images (rows) by defense (columns).

    Attacks made for other norms count too: what they found is as near as it is.
    """
    groups = [outcomes["image"], outcomes["defense"]]
    found = sizes(outcomes, norm).groupby(groups).min().unstack()
    return found[_declared(found.columns)]


def standings(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row a defense, the best union first: how many of its digits withstand every attack.

    Columns: clean, the accuracy on clean digits; the accuracy at the budget of each norm, over all
    attacks; union, the share robust in every norm; the median of the nearest distances, by norm;
    cells, of how many attacks; n, digits.
    """
    by = outcomes["defense"]
    columns = {"clean": outcomes["clean"].groupby(by).mean()}
    broken = {str(norm): within(outcomes, norm) for norm in NORMS}
    broken["union"] = pd.concat(broken, axis=1).any(axis=1)
    for name, rows in broken.items():
        columns[name] = 1 - rows.groupby([by, outcomes["image"]]).any().groupby(level=0).mean()
    for norm in NORMS:
        columns[f"median {norm}"] = nearest(outcomes, norm).apply(median)
    table = pd.DataFrame(columns)
    table["cells"] = (outcomes["attack"] + outcomes["norm"]).groupby(by).nunique()
    table["n"] = outcomes["image"].groupby(by).nunique()
    return table.loc[_declared(table.index)].sort_values("union", ascending=False, kind="stable")


def curve(outcomes: pd.DataFrame, defense: str, norm: Norm, budgets: Sequence[float]) -> np.ndarray:
    """Accuracy of a defense at each budget (B,), over all attacks; ValueError without outcomes."""
    own = outcomes[outcomes["defense"] == defense]
    if own.empty:
        raise ValueError(f"outcomes must hold the defense {defense!r}")
    found = nearest(own, norm)[defense].to_numpy()
    return (found[:, None] > np.asarray(budgets)[None] * (1 + ROUNDING)).mean(axis=0)


def breakers(outcomes: pd.DataFrame, norm: Norm) -> pd.DataFrame:
    """Who breaks whom: the share of the broken digits of which an attack has the nearest image.

    Within the budget of a norm, by defense (rows) and attack (columns), adding up to 1. Ties are
    shared, and digits that the defense misreads when clean are nobody's. A defense with none broken
    has a row of zeros.
    """
    hit = outcomes.assign(size=sizes(outcomes, norm))[within(outcomes, norm) & outcomes["clean"]]
    least = hit.groupby(["defense", "image"])["size"].transform("min")
    best = hit[hit["size"] <= least * (1 + ROUNDING)]
    share = 1 / best.groupby(["defense", "image"])["size"].transform("size")
    label = best["attack"] + "-" + best["norm"]
    won = share.groupby([best["defense"], label]).sum().unstack(fill_value=0)
    rows = _declared(outcomes["defense"].unique())
    table = won.div(won.sum(axis=1), axis=0).reindex(index=rows, fill_value=0.0)
    return table[_attacks(table.columns)]


def median(values: pd.Series) -> float:
    """The median, infinite once half or more are; for an even count the mean of the middle two."""
    ordered = np.sort(values.to_numpy(dtype=float))
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def _declared(names: object) -> list[str]:
    found = set(cast(Sequence[str], names))
    return [name for name in DEFENSES if name in found]


def _attacks(labels: object) -> list[str]:
    found = set(cast(Sequence[str], labels))
    return [label for norm in NORMS for label, entry in ATTACKS.items()
            if label in found and entry.norm == norm]  # fmt: skip
