"""Attacks on CIFAR-10 that a page shows on few photographs: `benchmarks/photographs.py NAME`.

Each name stores its recordings in data/measured/photographs.json. The network is cifar-cnn, the
images are test images that it was not trained on, drawn with seed 0.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console

from armsrace import attacks, datasets, evaluation, zoo
from armsrace.ledger.measurements import record

CONSOLE = Console()
STUDY, NETWORK = "photographs", "cifar-cnn"
EPSILONS = [0.0, 0.02, 0.05, 0.1]


def sample(count: int) -> datasets.Dataset:
    """Test images drawn with seed 0; ValueError where the full set is not here."""
    data = datasets.load("cifar10", "test")
    if data.source == "embedded":
        raise ValueError("needs the 10,000 test images: run `armsrace data --download cifar10`")
    return data.take(count, torch.Generator().manual_seed(0))


def fgsm(count: int) -> None:
    """The error under one step at several budgets, misclassified clean images included."""
    data, model = sample(count), zoo.load(NETWORK)
    curve = evaluation.robustness_curve(model, attacks.fgsm, data.images, data.labels, EPSILONS)
    columns = {"epsilon": EPSILONS, "error": [1 - accuracy for accuracy in curve.accuracies]}
    _record("fgsm", columns, f"{NETWORK}; one FGSM step, L∞, any wrong class", count)


def evolution(count: int, pixels: int, population: int, generations: int) -> None:
    """The share of correctly classified images that differential evolution fools, by queries."""
    data, model = sample(2 * count), zoo.load(NETWORK)
    with torch.no_grad():
        right = model(data.images).argmax(dim=1) == data.labels
    data = data.where(right).take(count)
    found = attacks.one_pixel(
        model, data.images, data.labels, pixels=pixels, population=population,
        generations=generations, label_below=1.0, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    budgets = [float(population * k + 2) for k in range(generations + 2)]
    spent = found.queries.double().masked_fill(~found.success, torch.inf)
    columns = {
        "queries": budgets,
        "success": [(spent <= budget).double().mean().item() for budget in budgets],
    }
    settings = (
        f"{NETWORK}; any wrong class; {population} candidates, up to {generations} "
        "generations, until the first success"
    )
    _record(f"evolution-{pixels}", columns, settings, count)


def _record(name: str, columns: dict[str, list[float]], settings: str, n: int) -> None:
    data = datasets.describe("cifar10")
    record(STUDY, name, columns, settings=settings, n=n, data=data)
    CONSOLE.print(name, columns)


def main() -> None:
    """Record the names given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=("fgsm", "evolution"))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--pixels", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--population", type=int, default=400)
    parser.add_argument("--generations", type=int, default=100)
    given = parser.parse_args()
    for name in given.names:
        if name == "fgsm":
            fgsm(given.images)
            continue
        for pixels in given.pixels:
            evolution(given.images, pixels, given.population, given.generations)


if __name__ == "__main__":
    main()
