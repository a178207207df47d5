"""Deep Image Prior on more images than a page has time for: `python benchmarks/prior.py NAME …`.

Each name stores one recording in data/measured/deep_image_prior.json, and its claims in paper.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measure import store
from prior_breaks import BUDGETS, budgets, known, unrolled_through
from prior_paths import STOP, STUDY, WIDTHS, Followed, attacked, means
from rich.console import Console

from armsrace import datasets, evaluation, ledger, zoo
from armsrace.defenses import DeepImagePrior

CONSOLE = Console()
EPSILON = 0.2
STEPS = [*range(2, 61, 2), *range(65, 101, 5), *range(110, 201, 10)]
TOLERANCES = [0.05, 0.04, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.003]
COLOUR_STEPS = [10, 20, 40, 60, 80, 100, 120, 140, 160]
COLOUR_SIZES, COLOUR_STOP = (0, 2, 4, 8, 16), 120
SKIPPED = 12
"""The test images on which COLOUR_STOP was chosen, behind the network cifar-cnn."""


def digits(count: int) -> None:
    """Accuracy, residuals and the stopping rule against the steps, clean and under BIM."""
    model, data = zoo.load("s3-cnn"), datasets.load("mnist", "test")
    clean, labels = data.images[:count], data.labels[:count]
    prior, columns = DeepImagePrior(widths=WIDTHS), {"steps": [float(step) for step in STEPS]}
    rule: dict[str, list[float]] = {"tolerance": TOLERANCES}
    for epsilon in (0.0, 0.1, EPSILON, 0.3):
        images = attacked(model, clean, labels, epsilon)
        found = Followed(prior, model, images, clean, labels, STEPS)
        name = f"ε = {epsilon:g}"
        stops = [found.within(tolerance) for tolerance in TOLERANCES]
        columns |= {
            name: found.accuracies,
            f"{name}, undefended": [evaluation.accuracy(model, images, labels)],
            f"{name}, to the input": means(found.residuals),
            f"{name}, to the clean": means(found.distances),
        }
        rule |= {
            name: [float(found.right.gather(0, stop[None]).double().mean()) for stop in stops],
            f"{name}, steps": [float(torch.tensor(STEPS)[stop].double().mean()) for stop in stops],
        }
    settings = "s3-cnn; BIM, 10 steps of ε/5; widths 16, 16, 16"
    facts: dict[str, Any] = {"settings": settings, "n": count, "data": data.description}
    ledger.record(STUDY, "digits", columns, **facts)
    ledger.record(STUDY, "digits-tolerance", rule, **facts)
    _measure_digits(columns, count)


def _measure_digits(columns: dict[str, list[float]], count: int) -> None:
    name = f"ε = {EPSILON:g}"
    stop = STEPS.index(STOP)
    bare, kept = columns[f"{name}, undefended"][0], columns[name]
    ledger.measure("dip-rise", 100 * (kept[stop] - bare), n=count)
    ledger.measure("dip-fall", 100 * (kept[-1] - kept[stop]), n=count)
    nearer = columns[f"{name}, to the input"][-1] / columns[f"{name}, to the clean"][-1]
    ledger.measure("dip-reconstructed", nearer, n=count)
    ledger.measure("dip-clean", 100 * columns["ε = 0"][stop], n=count)


def colour(size: int, count: int) -> None:
    """CIFAR-10 at one ε of 255, on the prior's path."""
    model, data = zoo.load("cifar-resnet"), datasets.load("cifar10", "test")
    clean, labels = (part[SKIPPED : SKIPPED + count] for part in (data.images, data.labels))
    images = attacked(model, clean, labels, size / 255)
    prior = DeepImagePrior(widths=WIDTHS)
    found = Followed(prior, model, images, clean, labels, COLOUR_STEPS)
    columns = {
        "steps": [float(step) for step in COLOUR_STEPS],
        "defended": found.accuracies,
        "undefended": [evaluation.accuracy(model, images, labels)],
        "residual": means(found.residuals),
    }
    settings = f"cifar-resnet; BIM, 10 steps of ε/5, ε = {size}/255; widths 16, 16, 16"
    about: dict[str, Any] = {"settings": settings, "n": count, "data": data.description}
    ledger.record(STUDY, f"colour-{size}", columns, **about)


def colour_claims(count: int) -> None:
    """What the recorded color images say of the claims; `count` is theirs."""
    rows = {size: ledger.recorded(STUDY)[f"colour-{size}"] for size in COLOUR_SIZES}
    stop = COLOUR_STEPS.index(COLOUR_STOP)
    kept = {size: row.columns["defended"][stop] for size, row in rows.items()}
    bare = {size: row.columns["undefended"][0] for size, row in rows.items()}
    on: dict[str, Any] = {"n": rows[0].n, "recording": rows[0]}
    ledger.measure("dip-colour-rise", 100 * (kept[4] - bare[4]), **on)
    ledger.measure("dip-colour-price", 100 * (kept[0] - bare[0]), **on)
    ledger.measure("dip-colour-power", 100 * (kept[2] - kept[16]), **on)


STUDIES: dict[str, Callable[[int], None]] = {
    "digits": digits,
    **{f"colour-{size}": partial(colour, size) for size in COLOUR_SIZES},
    "colour-claims": colour_claims,
    **{f"break-{norm}": partial(budgets, norm) for norm in BUDGETS},
    "break-known": known,
    "break-unrolled": unrolled_through,
}


def main() -> None:
    """Record the studies named, one thread by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=STUDIES)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name in chosen.names:
        STUDIES[name](chosen.images)
        store()
        CONSOLE.print(name, "recorded")


if __name__ == "__main__":
    main()
