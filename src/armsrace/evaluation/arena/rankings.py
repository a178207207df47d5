"""Rankings of the outcomes: accuracies, nearest distances, and which attack breaks which defense.

All accuracies are upper bounds: another attack may succeed where these failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd

from armsrace.contracts import Norm, check_choice
from armsrace.evaluation.arena.attacks import ATTACKS, BUDGETS
from armsrace.evaluation.arena.defenses import DEFENSES
from armsrace.evaluation.arena.jobs import NORMS

ROUNDING = 1e-5
"""How far float32 rounding may exceed a budget, as a fraction of it."""


def sizes(outcomes: pd.DataFrame, norm: Norm) -> pd.Series:
    """‖δ‖ of each row in a norm: infinite for a failure, 0 if the clean image was misclassified."""
    check_choice("norm", norm, NORMS)
    return outcomes[norm].where(outcomes["success"], np.inf)


def within(outcomes: pd.DataFrame, norm: Norm) -> pd.Series:
    """Whether each row's image is adversarial within the norm's budget, by any attack."""
    return sizes(outcomes, norm) <= BUDGETS[norm] * (1 + ROUNDING)


def complete(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes of the cells that were measured on all digits of the outcomes."""
    cells = outcomes.groupby(["defense", "attack", "norm"])["image"]
    return outcomes[cells.transform("nunique") == outcomes["image"].nunique()]


def matrix(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each defense (rows) under each attack (columns), at its own norm's budget.

    A cell that was not measured is NaN.
    """
    broken = pd.Series(False, outcomes.index)
    for norm in NORMS:
        own = outcomes["norm"] == norm
        broken[own] = within(outcomes[own], norm)
    label = outcomes["attack"] + "-" + outcomes["norm"]
    rates = 1 - broken.groupby([outcomes["defense"], label]).mean().unstack()
    return rates.reindex(index=_declared(rates.index), columns=_attacks(rates.columns))


def nearest(outcomes: pd.DataFrame, norm: Norm) -> pd.DataFrame:
    """The smallest ‖δ‖ in a norm that any attack found: images (rows) by defense (columns).

    Attacks made for other norms count too: their images are adversarial all the same.
    """
    groups = [outcomes["image"], outcomes["defense"]]
    min_distance = sizes(outcomes, norm).groupby(groups).min().unstack()
    return min_distance[_declared(min_distance.columns)]


def standings(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row per defense: its accuracy under the worst case of all attacks, the best union first.

    Returns:
        Columns `clean`, the accuracy on clean digits; `linf`, `l2` and `l0`, the accuracy at the
        norm's budget under all attacks; `union`, the fraction robust in every norm; `median linf`
        and so on, the medians of the nearest distances; `cells`, the number of attacks; `n`, the
        number of digits.
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
    """Accuracy (B,) of a defense under all attacks, at each budget (B,)."""
    own = outcomes[outcomes["defense"] == defense]
    if own.empty:
        raise ValueError(f"outcomes must hold the defense {defense!r}")
    min_distance = nearest(own, norm)[defense].to_numpy()
    return (min_distance[:, None] > np.asarray(budgets)[None] * (1 + ROUNDING)).mean(axis=0)


def breakers(outcomes: pd.DataFrame, norm: Norm) -> pd.DataFrame:
    """The fraction of a defense's broken digits for which an attack found the nearest image.

    Digits are those broken within the budget of a norm. Rows are defenses and add up to 1; columns
    are attacks. Attacks that tie share a digit. Digits that are misclassified when clean do not
    count. A defense without broken digits has a row of zeros.
    """
    broken = outcomes.assign(size=sizes(outcomes, norm))[within(outcomes, norm) & outcomes["clean"]]
    min_size = broken.groupby(["defense", "image"])["size"].transform("min")
    best = broken[broken["size"] <= min_size * (1 + ROUNDING)]
    fraction = 1 / best.groupby(["defense", "image"])["size"].transform("size")
    label = best["attack"] + "-" + best["norm"]
    won = fraction.groupby([best["defense"], label]).sum().unstack(fill_value=0)
    rows = _declared(outcomes["defense"].unique())
    table = won.div(won.sum(axis=1), axis=0).reindex(index=rows, fill_value=0.0)
    return table[_attacks(table.columns)]


def median(values: pd.Series) -> float:
    """The median, infinite if half or more are; for an even count the mean of the middle two."""
    ordered = np.sort(values.to_numpy(dtype=float))
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def _declared(names: object) -> list[str]:
    """Defenses in the order of the table."""
    wanted = set(cast(Sequence[str], names))
    return [name for name in DEFENSES if name in wanted]


def _attacks(labels: object) -> list[str]:
    """Labels of attacks, norm by norm, in the order of the table."""
    wanted = set(cast(Sequence[str], labels))
    return [label for norm in NORMS for label, entry in ATTACKS.items()
            if label in wanted and entry.norm == norm]  # fmt: skip
