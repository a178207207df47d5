"""Analysis by synthesis and its bounds on more digits than a page has time for."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from armsrace import datasets, defenses, evaluation, ledger, zoo
from armsrace.defenses.analysis_by_synthesis.binary import FACTORS
from armsrace.models.abs_vae import ClassDecoders, ClassVaes
from armsrace.models.layers import predict


def _decoders() -> ClassDecoders:
    return ClassDecoders(cast(ClassVaes, zoo.load("abs")))


def _quick() -> defenses.AnalysisBySynthesis:
    """The arena's: the best of 2,000 samples, twelve steps of Levenberg–Marquardt."""
    search = defenses.LevenbergMarquardt(steps=12, starts=1)
    return defenses.AnalysisBySynthesis(_decoders(), search=search, samples=2_000)


def factors(digits: int) -> None:
    """Print what `FACTORS` of analysis_by_synthesis/binary.py should be; digits is not used."""
    known = datasets.held_out("mnist")
    costs = -predict(_quick(), defenses.Binarized()(known.images), 250)
    found = defenses.fitted_factors(costs, known.labels)
    right = (costs * found).argmin(dim=1) == known.labels
    print(f"{tuple(round(factor, 3) for factor in found.tolist())}, {right.float().mean():.2%}")


def clean(digits: int) -> None:
    """Accuracy by the paper's protocol: 8,000 samples, 50 steps of Adam."""
    _accuracy("schott-abs-clean", defenses.AnalysisBySynthesis(_decoders()), digits)


def binary(digits: int) -> None:
    """The same of Binary ABS, by the quick search and with the factors that its source holds."""
    weighted = defenses.ClassWeighted(_quick(), torch.tensor(FACTORS))
    purified = defenses.Purified(defenses.Binarized(), weighted)
    _accuracy("schott-binary-abs-clean", purified, digits)


def _accuracy(claim: str, model: nn.Module, digits: int) -> None:
    data = datasets.load("mnist", "test")
    right = predict(model, data.images[:digits], 250).argmax(dim=1) == data.labels[:digits]
    ledger.measure(claim, 100 * right.double().mean().item(), n=digits)


def bounds(digits: int) -> None:
    """Every bound on the digits of the arena."""
    data = datasets.load("mnist", "test").take(digits)
    model, part = _quick(), (data.images, data.labels)
    found = evaluation.synthesis_bounds(model, *part)
    columns: dict[str, Tensor] = {
        "paper": found.paper, "closed": found.closed, "tight": found.tight,
        "half-space": evaluation.halfspace_bounds(model, *part),
        "linf": evaluation.linf_bounds(model, *part),
        "half-space linf": evaluation.halfspace_bounds(model, *part, norm="linf"),
    }  # fmt: skip
    numbers = {name: column.tolist() for name, column in columns.items()}
    words = "Thirty steps from five starts; pixel by pixel in L∞ fifteen from two"
    about = {"n": digits, "data": data.description, "settings": words}
    ledger.record("synthesis", "bounds", numbers, **about)
    ledger.measure("abs-bound-paper", found.paper.mean().item(), n=digits)
    ledger.measure("abs-bound-linf", columns["linf"].median().item(), n=digits)


EXPLANATIONS: dict[str, Callable[[int], None]] = {
    "abs-factors": factors, "abs-clean": clean, "binary-abs-clean": binary, "abs-bounds": bounds,
}  # fmt: skip
