"""Carlini et al. 2019's checklist for evaluations, filled in per defense from the outcomes.

Only questions that the outcomes and the recorded indicators of failure can answer are here. A
threat model, hyperparameters, code and weights are published for the arena as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from armsrace.evaluation.arena.attacks import ATTACKS
from armsrace.evaluation.arena.defenses import DEFENSES
from armsrace.evaluation.arena.rankings import within

TOLERANCE = 0.01
"""A success rate this much smaller counts as equal: one digit of a hundred."""
ONE_STEP, ITERATED = ("fgsm", "rand-fgsm"), ("bim", "pgd", "margin-apgd", "aimed-pgd")
NOISE = ("uniform-noise", "gaussian-noise", "salt-and-pepper")
QUESTIONS = {
    "scores": "Was it attacked by scores alone, without a gradient?",
    "decisions": "Was it attacked by decisions alone?",
    "transfer": "Were adversarial images of another network tried?",
    "norms": "Was it attacked in more than one norm?",
    "one step": "Does iterating do at least as well as one step (L∞)?",
    "no gradient": "Do gradient attacks match gradient-free ones (L∞)?",
    "unbounded": "Does an attack without a budget always succeed?",
    "converged": "Did the attack converge (on at least 19 of 20 digits)?",
}
"""Each column's question, after §4 and §5 of the paper; the last two are Pintor et al.'s too."""
SETTLED = 0.05


def checklist(
    outcomes: pd.DataFrame, indicators: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """The answers to `QUESTIONS` for each defense (rows): True, False, or None if not measured.

    Args:
        outcomes: of the arena.
        indicators: by defense, `unconstrained_failure` and `incomplete_optimization` as from
            `failure_indicators`, of the attacker who knows the defense.

    References:
        Carlini et al. 2019, "On evaluating adversarial robustness", §4 and §5.

    Example:
        >>> from armsrace.evaluation.arena import checklist, read
        >>> table = checklist.checklist(read(), {})
        >>> bool(table.loc["madry", "scores"])
        True
    """
    answers: dict[str, dict[str, bool | None]] = {}
    for defense in (name for name in DEFENSES if name in set(outcomes["defense"])):
        own = outcomes[outcomes["defense"] == defense]
        answers[defense] = _from_outcomes(own) | _from_indicators(indicators.get(defense))
    return pd.DataFrame.from_dict(answers, orient="index", columns=list(QUESTIONS), dtype=object)


def _from_outcomes(own: pd.DataFrame) -> dict[str, bool | None]:
    """The answers that the outcomes of one defense give."""
    access = {entry.name: entry.access for entry in ATTACKS.values()}
    used = {access[name] for name in set(own["attack"]) & access.keys() - set(NOISE)}
    linf = own[own["norm"] == "linf"]
    means = within(linf, "linf").groupby(linf["attack"]).mean()
    rates = {str(name): float(rate) for name, rate in means.items()}
    by_gradient = [name for name in rates if access.get(name) == "gradients"]
    without = [name for name in rates if name not in by_gradient]
    return {
        "scores": "scores" in used,
        "decisions": "decisions" in used,
        "transfer": "another network" in used,
        "norms": own["norm"].nunique() > 1,
        "one step": _no_weaker(rates, ITERATED, ONE_STEP),
        "no gradient": _no_weaker(rates, by_gradient, without),
    }


def _no_weaker(
    rates: Mapping[str, float], strong: Sequence[str], weak: Sequence[str]
) -> bool | None:
    """Whether the best of some attacks is as good as the best of others; None if one is missing."""
    best, other = ([rates[name] for name in names if name in rates] for names in (strong, weak))
    return max(best) >= max(other) - TOLERANCE if best and other else None


def _from_indicators(found: Mapping[str, float] | None) -> dict[str, bool | None]:
    """The answers that the indicators of one defense give."""
    if found is None:
        return {"unbounded": None, "converged": None}
    return {
        "unbounded": found["unconstrained_failure"] == 0,
        "converged": found["incomplete_optimization"] <= SETTLED + 1e-9,
    }
