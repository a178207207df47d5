"""Does a recipe that asks for reduced precision reach the same accuracy without it?

Trains networks of the zoo several times with the recipe's bfloat16 and as often in float32, from
the same seeds, and records the test accuracies; the zoo's own weights stay as they are. The answer
matters because a card may say bfloat16 where the reader's machine has none. Run it on a machine
that has it: elsewhere both columns would be float32, and the script refuses.
"""

from __future__ import annotations

import argparse
import statistics

from rich.console import Console
from rich.table import Table

from armsrace import datasets, ledger
from armsrace.models import zoo
from armsrace.precision import NATIVE, _reduced, reduced_precision
from armsrace.recipes import RECIPES
from armsrace.training.loop import fit
from armsrace.training.quality import QUALITIES


def accuracy(name: str, seed: int) -> float:
    """Test accuracy of one training of a recipe."""
    recipe, entry = RECIPES[name], zoo.entry(name)
    data = recipe.sample(recipe.select(datasets.training(entry.dataset)))
    model, _ = fit(lambda: recipe.around(entry.build()), data, recipe, seed=seed)
    return QUALITIES["accuracy"](model, recipe.select(datasets.load(entry.dataset, "test")))


def compare(name: str, seeds: int) -> dict[str, list[float]]:
    """Accuracies with the machine's reduced precision and without it, seed by seed."""
    found = {}
    native = NATIVE["cpu"]
    for label, answer in (("bfloat16", native), ("float32", lambda: False)):
        NATIVE["cpu"] = answer
        _reduced.cache_clear()
        found[label] = [accuracy(name, seed) for seed in range(seeds)]
    NATIVE["cpu"] = native
    _reduced.cache_clear()
    return found


def main() -> None:
    """Compare the networks named and record what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", help="networks whose recipe asks for bfloat16")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if reduced_precision() is None:
        raise SystemExit("this processor has no bfloat16: there is nothing to compare")
    table = Table("network", "precision", "mean test accuracy", "least to greatest", "n")
    for name in arguments.names:
        found = compare(name, arguments.seeds)
        test = datasets.load(zoo.entry(name).dataset, "test")
        settings = f"armsrace train {name}, seeds 0 to {arguments.seeds - 1}, test accuracies"
        ledger.record(
            "precision", name, found, settings=settings, n=len(test), data=test.description
        )
        for label, values in found.items():
            spread = f"{min(values):.2%} to {max(values):.2%}"
            mean = f"{statistics.mean(values):.2%}"
            table.add_row(name, label, mean, spread, str(len(values)))
    Console().print(table)


if __name__ == "__main__":
    main()
