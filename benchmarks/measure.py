"""Measure what takes a CPU longer than a page may: `python benchmarks/measure.py NAME …`.

Each name measures a few claims with the papers' own settings on as many digits as it is told, and
adds them to data/measured/paper.json as soon as it has them; the pages show them in the column of
the paper profile, with n and device. Curves and tables go to a file of their own study, such as
data/measured/magnet.json. The paper profile of the chapters takes a GPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from breaks import BREAKS
from defense_gan import DEFENSE_GAN
from explanations import EXPLANATIONS
from manifold import MANIFOLD
from rich.console import Console

from armsrace import attacks, datasets, evaluation, ledger, zoo
from armsrace.contracts import Norm
from armsrace.ledger.measurements import SESSION, load_measured, measured_path
from armsrace.losses import margin
from armsrace.models.layers import predict
from armsrace.resources import replacing

CONSOLE = Console()
BATCH = 450
CARLINI = {
    "l2": attacks.carlini_wagner_l2,
    "linf": attacks.carlini_wagner_linf,
    "l0": attacks.carlini_wagner_l0,
}


def first_right(name: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first test digits that a network classifies correctly, and their labels."""
    data = datasets.load("mnist", "test")
    read = predict(zoo.load(name), data.images[: 2 * count]).argmax(dim=1)
    right = (read == data.labels[: 2 * count]).nonzero()[:count, 0]
    return data.images[right], data.labels[right]


def table_four(norm: Norm, digits: int) -> None:
    """Carlini and Wagner's Table IV in one norm: every wrong class of each digit."""
    model, (images, labels) = zoo.load("carlini-wagner"), first_right("carlini-wagner", digits)
    sources, own, targets = evaluation.all_targets(images, labels, 10)
    sizes = []
    for part in torch.arange(len(sources)).split(BATCH):
        task = model, sources[part], own[part]
        result = CARLINI[norm](*task, targets=targets[part])
        sizes.append(evaluation.perturbation_sizes(sources[part], result, norm))
    cases = evaluation.best_average_worst(torch.cat(sizes), 10)
    for case in ("best", "average", "worst"):
        found = getattr(cases, case)
        note = f"{found.success:.0%} success, the library's settings"
        ledger.measure(f"carlini-{norm}-{case}", found.distance, n=digits, note=note)


TABLE_ONE: dict[str, dict[str, Any]] = {
    "pgd-40": {"steps": 40},
    "cw": {"steps": 40, "loss": margin},
    "pgd-100": {"steps": 100},
}
RESTARTED: dict[str, dict[str, Any]] = {"pgd-restarts": {"steps": 100, "restarts": 20}}


def madry_table_one(runs: dict[str, dict[str, Any]], digits: int) -> None:
    """Madry's Table 1, white box: the PGD-trained network on the first test images."""
    model, data = zoo.load("madry-pgd"), datasets.load("mnist", "test")
    images, labels = data.images[:digits], data.labels[:digits]
    for name, settings in runs.items():
        attack = partial(attacks.pgd, epsilon=0.3, step_size=0.01, **settings)
        found = evaluation.attack_in_batches(attack, model, images, labels, batch_size=200)
        kept = 100 * (1 - found.success.double().mean().item())
        ledger.measure(f"madry-{name}", kept, n=digits)
        store()


MEASURES: dict[str, Callable[[int], None]] = {
    f"carlini-{norm}": partial(table_four, norm) for norm in CARLINI
} | {
    "madry": partial(madry_table_one, TABLE_ONE),
    "madry-restarts": partial(madry_table_one, RESTARTED),
    **BREAKS,
    **DEFENSE_GAN,
    **MANIFOLD,
    **EXPLANATIONS,
}


def store() -> None:
    """Add what this process has measured to the committed file, whole or not at all."""
    rows = load_measured("paper") | SESSION
    content = [rows[key].model_dump() for key in sorted(rows)]
    with replacing(measured_path("paper")) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Measure the names given, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=MEASURES)
    parser.add_argument("--digits", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    for name in arguments.names:
        MEASURES[name](arguments.digits)
        store()
    for found in SESSION.values():
        CONSOLE.print(f"{found.id}: {found.value:.4g} (n={found.n}, {found.note})")


if __name__ == "__main__":
    main()
