"""Pintor et al.'s indicators of attack failure, for the defenses of the arena.

PGD in L∞ at the arena's budget, with the margin as its loss, on the first test digits that a
defense classifies correctly and does not refuse; through the model that the arena's attacks
differentiate, and through that of an attacker who knows the defense where it is another. The result
goes to data/measured/failure_indicators.json, one recording per defense: the indicators by name,
one number per attacker, as a row "attackers" of 0 (plain) and 1 (aware) says.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import torch
from rich.console import Console

from armsrace import datasets, evaluation, ledger
from armsrace.evaluation import arena

CONSOLE = Console()
STUDY = "failure_indicators"
STEPS = 40


def study(name: str, count: int) -> None:
    """Both attackers on one defense, and record."""
    defended, data = arena.DEFENSES[name].on("cpu"), datasets.load("mnist", "test")
    first = data.take(min(len(data), 4 * count))
    right = torch.cat([
        defended.clean_correct(images, labels)
        for images, labels in zip(first.images.split(60), first.labels.split(60), strict=True)
    ]).nonzero()[:count, 0]  # fmt: skip
    images, labels = first.images[right], first.labels[right]
    models = [(0.0, defended.gradient_model)]
    if defended.adaptive_model is not None:
        models.append((1.0, defended.adaptive_model))
    columns: dict[str, list[float]] = {"attackers": [code for code, _ in models]}
    for _, model in models:
        found = evaluation.failure_indicators(
            model, images, labels, epsilon=arena.BUDGETS["linf"], steps=STEPS,
            is_adversarial=defended.is_adversarial,
        )  # fmt: skip
        CONSOLE.print(name, found, sep="\n")
        for key, value in asdict(found).items():
            if key != "n":
                columns.setdefault(key, []).append(value)
    ledger.record(
        STUDY, name, columns,
        settings=f"PGD, L∞, ε = {arena.BUDGETS['linf']:g}, {STEPS} steps, on the margin",
        n=len(images), data=datasets.describe("mnist"),
    )  # fmt: skip


def main() -> None:
    """Record the defenses asked for, by default those whose every query is no optimization."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--digits", type=int, default=60)
    chosen = parser.parse_args()
    quick = [name for name, defense in arena.DEFENSES.items() if not defense.slow]
    for name in chosen.names or quick:
        study(name, chosen.digits)


if __name__ == "__main__":
    main()
