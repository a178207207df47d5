"""Measuring one unit: an attack, what it found image by image, and where that is from."""

from __future__ import annotations

import time
from datetime import date
from functools import lru_cache

import pandas as pd
import torch
from torch import Tensor

import armsrace
from armsrace import datasets
from armsrace.attacks.norms import distances
from armsrace.evaluation.arena.cells import NORMS, Unit, digits
from armsrace.evaluation.arena.defended import Defended
from armsrace.evaluation.arena.defenses import DEFENSES
from armsrace.resources import code_version, device_name


def measure(unit: Unit, key: str, device: str = "cpu") -> pd.DataFrame:
    """One row an image: success, ‖δ‖ in each norm, queries, gradients, and where from.

    An image that the defense does not read rightly when clean, or refuses, is beaten at distance 0
    and not attacked; its one query is the clean one. A defense that may refuse is beaten only by
    what it lets through; only aware attacks try to be. Raises ValueError where the unit's key is
    not `key`: the weights or the digits of this machine are others.
    """
    if unit.key != key:
        raise ValueError(f"{unit.name}: this machine has other weights or digits, key {key} wanted")
    start, defended = time.perf_counter(), _built(unit.defense, device)
    images, labels = (part.to(device) for part in digits(unit.start, unit.stop))
    clean = defended.served(images, labels)
    found, success = images.clone(), ~clean
    queries, gradients = torch.ones_like(labels), torch.zeros_like(labels)
    if clean.any():
        part = images[clean], labels[clean]
        result = unit.column.attack(defended, *part, unit.seed, unit.row.slow)
        found[clean], success[clean] = result.images, defended.beaten(result.images, part[1])
        queries[clean], gradients[clean] = result.queries, result.gradients
    sizes = {str(norm): distances(found - images, norm) for norm in NORMS}
    columns: dict[str, Tensor] = {"label": labels, "clean": clean, "success": success}
    columns |= sizes | {"queries": queries, "gradients": gradients}
    values = {name: column.cpu().numpy() for name, column in columns.items()}
    seconds = time.perf_counter() - start
    places = pd.RangeIndex(unit.start, unit.stop)
    return pd.DataFrame(
        {"image": places, **values, **_provenance(unit, device), "seconds": seconds}
    )


def _provenance(unit: Unit, device: str) -> dict[str, object]:
    epsilon = unit.column.epsilon
    return {
        "defense": unit.defense, "attack": unit.column.name, "norm": unit.column.norm,
        "epsilon": float("nan") if epsilon is None else float(epsilon), "options": unit.options,
        "weights": unit.weights, "seed": unit.seed, "data": datasets.describe("mnist"),
        "device": device_name(device), "commit": code_version(), "date": date.today().isoformat(),
        "library": f"armsrace {armsrace.__version__}, torch {torch.__version__}", "key": unit.key,
    }  # fmt: skip


@lru_cache(maxsize=2)
def _built(defense: str, device: str) -> Defended:
    return DEFENSES[defense].on(device)
