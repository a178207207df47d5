"""Carlini and Wagner's Table IV on more digits than a page has time for.

Each attack is asked for all nine wrong classes of each digit. Each name stores its recording in
data/measured/table_four.json: the mean distance of the best, the average and the worst case, the
half width of its 95 % interval over digits, the success rate, and the gradients per pair. The
digits are drawn with seed 0 from those that the network classifies correctly.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from armsrace import attacks, datasets, evaluation, zoo
from armsrace.contracts import AttackResult, Norm
from armsrace.ledger.measurements import record

CONSOLE = Console()
STUDY, NETWORK, CLASSES = "table_four", "carlini-wagner", 10
GRAY = 1 / 256
BUDGETS = [0.5 * k / 128 for k in range(1, 129)]
BATCH = 180


def iterated(*task: Any, epsilon: float, **goal: Any) -> AttackResult:
    """The basic iterative method by single gray levels, with a quarter more steps than ε needs."""
    steps = int(1.25 * epsilon / GRAY) + 1
    return attacks.bim(*task, epsilon=epsilon, step_size=GRAY, steps=steps, **goal)


ATTACKS: dict[str, tuple[Norm, Callable[..., AttackResult], str]] = {
    "l2": (
        "l2",
        partial(
            attacks.carlini_wagner_l2, binary_search_steps=9, steps=300, step_size=0.05,
            initial_constant=1.0,
        ),
        "9 constants, at most 300 steps each",
    ),
    "linf": ("linf", attacks.carlini_wagner_linf, "the library's settings"),
    "l0": (
        "l0",
        partial(attacks.carlini_wagner_l0, steps=100, step_size=0.05),
        "at most 100 steps for each constant",
    ),
    "fgs": (
        "linf",
        partial(evaluation.smallest_epsilon, attacks.fgsm, epsilons=BUDGETS),
        "128 budgets up to 0.5, one after the other",
    ),
    "igs": (
        "linf",
        partial(evaluation.smallest_epsilon, iterated, epsilons=BUDGETS, bisect=True),
        "steps of 1/256; 128 budgets up to 0.5, by bisection",
    ),
    "jsma-f": ("l0", partial(attacks.jsma, gamma=1.0), "on the softmax"),
    "jsma-z": ("l0", partial(attacks.jsma, gamma=1.0, form="logits"), "on the logits"),
}  # fmt: skip


def chosen_digits(count: int) -> tuple[Tensor, Tensor]:
    """Test digits that the network classifies correctly, in the order drawn, and their labels."""
    data = datasets.load("mnist", "test").take(2 * count, torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = zoo.load(NETWORK)(data.images).argmax(dim=1) == data.labels
    kept = right.nonzero()[:count, 0]
    if len(kept) < count:
        raise ValueError(f"only {len(kept)} of {len(data)} digits are classified correctly")
    return data.images[kept], data.labels[kept]


def half_width(rows: Tensor) -> float:
    """Half the 95 % interval of the mean of each digit's mean; rows (N, T), ∞ where it failed."""
    reached = rows.isfinite().any(dim=1)
    means = rows.masked_fill(~rows.isfinite(), torch.nan)[reached].nanmean(dim=1).double()
    return 1.96 * means.std().item() / len(means) ** 0.5 if len(means) > 1 else 0.0


def measure(name: str, count: int) -> None:
    """Record one row of the table."""
    norm, attack, settings = ATTACKS[name]
    model, (images, labels) = zoo.load(NETWORK), chosen_digits(count)
    pairs, own, targets = evaluation.all_targets(images, labels, CLASSES)
    sizes, gradients = [], []
    for part in torch.arange(len(pairs)).split(BATCH):
        result = attack(model, pairs[part], own[part], targets=targets[part])
        sizes.append(evaluation.perturbation_sizes(pairs[part], result, norm))
        gradients.append(result.gradients.double())
    each = torch.cat(sizes)
    rows = each.view(-1, CLASSES - 1)
    found = evaluation.best_average_worst(each, CLASSES)
    cases = found.best, found.average, found.worst
    # A case without a success has no mean, and JSON has no infinity: 0 with a success of 0.
    columns = {
        "distance": [case.distance if case.success else 0.0 for case in cases],
        "half width": [half_width(part) for part in (rows.amin(1, True), rows, rows.amax(1, True))],
        "success": [case.success for case in cases],
        "gradients": [torch.cat(gradients).mean().item()],
    }
    about = f"{NETWORK}; each of nine targets; {settings}"
    record(STUDY, name, columns, settings=about, n=count, data=datasets.describe("mnist"))
    CONSOLE.print(name, columns)


def main() -> None:
    """Record the names given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=ATTACKS)
    parser.add_argument("--digits", type=int, default=40)
    given = parser.parse_args()
    for name in given.names:
        measure(name, given.digits)


if __name__ == "__main__":
    main()
