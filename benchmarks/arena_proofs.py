"""What can be proved of the arena's own defenses, on the arena's digits.

The nearest neighbor's decision cannot change within
max_i min_j (‖x − x_j‖² − ‖x − x_i‖²) / (2 ‖x_j − x_i‖), i of the image's class and j of another
(Wang et al. 2019); the twenty nearest i are tried. For two networks, interval bounds at the arena's
budget in L∞. The columns of data/measured/arena_proofs.json hold one number for each digit. Linear
synthesis, smoothing, networks trained on boxes, and ABS have studies of their own.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from torch import Tensor

from armsrace import datasets, defenses, evaluation, zoo
from armsrace.evaluation import arena
from armsrace.ledger.measurements import record

CONSOLE = Console()
STUDY, NEAREST = "arena_proofs", 20
NETWORKS = {"madry": "madry-pgd", "s3-cnn": "s3-cnn"}


def neighbor_radii(model: defenses.NearestNeighbor, images: Tensor, labels: Tensor) -> Tensor:
    """The lower bound (N,) on the L2 distance at which a neighbor of another class is as near."""
    stored = model.stored.double()
    classes = torch.arange(len(model.counts)).repeat_interleave(torch.tensor(model.counts))
    radii = []
    for x, y in zip(images.flatten(1).double(), labels, strict=True):
        squares = (stored - x).square().sum(1)
        near = squares.where(classes == y, torch.inf).topk(NEAREST, largest=False).indices
        others = classes != y
        gaps = squares[others] - squares[near, None]
        apart = torch.cdist(stored[near], stored[others])
        radii.append((gaps / (2 * apart)).amin(1).amax().clamp_min(0))
    return torch.stack(radii)


def neighbor(count: int) -> None:
    """Record the bounds of the nearest neighbor."""
    data = datasets.load("mnist", "test").take(count)
    model = arena.DEFENSES["neighbor"].on("cpu").model
    assert isinstance(model, defenses.NearestNeighbor)
    radii = neighbor_radii(model, data.images, data.labels)
    _record("neighbor", {"radius": radii}, data, f"the {NEAREST} nearest of the class are tried")


def interval(name: str, count: int) -> None:
    """Record which digits interval bounds prove of a network at the arena's L∞ budget."""
    data, epsilon = datasets.load("mnist", "test").take(count), arena.BUDGETS["linf"]
    proved = defenses.certified(zoo.load(NETWORKS[name]), data.images, data.labels, epsilon)
    _record(name, {"certified": proved.double()}, data, f"interval bounds, ε = {epsilon:g}")


def _record(name: str, columns: dict[str, Tensor], data: datasets.Dataset, settings: str) -> None:
    n = len(data.labels)
    numbers = {key: values.tolist() for key, values in columns.items()}
    record(STUDY, name, numbers, settings=settings, n=n, data=data.description)
    for key, values in columns.items():
        known = evaluation.with_interval((values > 0).double().mean().item(), n)
        CONSOLE.print(name, key, f"median {values.median():.3f}, above 0: {known}")


def main() -> None:
    """Record everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=100)
    count = parser.parse_args().digits
    neighbor(count)
    for name in NETWORKS:
        interval(name, count)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
