"""The work of the arena cut into units: one defense, one attack in one norm, a few images."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property, lru_cache

import pandas as pd
import torch
from torch import Tensor

import armsrace
from armsrace import datasets
from armsrace.attacks.norms import distances
from armsrace.contracts import Norm, check_choice, check_count
from armsrace.evaluation.arena.attacks import ATTACKS, Entry
from armsrace.evaluation.arena.defenses import DEFENSES, Defended, Defense
from armsrace.models import zoo
from armsrace.resources import code_version

CHUNK = 25
NORMS: tuple[Norm, ...] = ("linf", "l2", "l0")


@dataclass(frozen=True)
class Unit:
    """Images start to stop (excluded) of the test digits, one attack on one defense, one seed."""

    defense: str
    attack: str
    start: int
    stop: int
    seed: int = 0

    @property
    def row(self) -> Defense:
        """The declared defense."""
        return DEFENSES[self.defense]

    @property
    def column(self) -> Entry:
        """The declared attack."""
        return ATTACKS[self.attack]

    @property
    def name(self) -> str:
        """Where its outcome is kept, below the run's folder."""
        cell = f"{self.defense}/{self.attack}"
        return f"{cell}/{self.start:05d}-{self.stop:05d}-{self.key[:16]}.parquet"

    @property
    def options(self) -> str:
        """The attack's keywords, as JSON."""
        return json.dumps(self.column.settings(self.row.slow), sort_keys=True)

    @property
    def weights(self) -> str:
        """The sha256 of each network, the defender's and the attacker's, as JSON."""
        names = (*self.row.networks, *self.column.networks)
        return json.dumps({name: _sha256(name) for name in names})

    @cached_property
    def key(self) -> str:
        """A hash of all that decides the outcome, but for the code: what changes is measured anew.

        The defense's settings, the weights, the attack's options, the seed and the images.
        """
        images, labels = digits(self.start, self.stop)
        pixels = images.numpy().tobytes() + labels.numpy().tobytes()
        parts = (self.defense, self.attack, self.start, self.stop, self.seed, self.options)
        made = json.dumps([*parts, self.weights, dict(self.row.settings)]).encode()
        return hashlib.sha256(made + hashlib.sha256(pixels).digest()).hexdigest()


def units(
    count: int,
    *,
    defenses: Sequence[str] = (),
    attacks: Sequence[str] = (),
    seed: int = 0,
    chunk: int = CHUNK,
) -> list[Unit]:
    """The units of the first `count` test digits, quick defenses first, in the table's order.

    defenses, attacks: names to keep, all by default; an attack's name alone keeps all its norms.
    Raises ValueError for an unknown name, or a count that is below 1 or above the digits there are.
    """
    check_count("count", count)
    check_count("chunk", chunk)
    if count > len(_digits()):
        raise ValueError(f"count must be <= {len(_digits())}, the digits there are, got {count}")
    for name in defenses:
        check_choice("defense", name, tuple(DEFENSES))
    known = {*ATTACKS, *(entry.name for entry in ATTACKS.values())}
    for name in attacks:
        check_choice("attack", name, tuple(sorted(known)))
    rows = [name for name in DEFENSES if name in (defenses or DEFENSES)]
    columns = [k for k, e in ATTACKS.items() if not attacks or {k, e.name} & set(attacks)]
    return [
        Unit(row, column, start, min(start + chunk, count), seed)
        for slow in (False, True)
        for row in rows
        if DEFENSES[row].slow is slow
        for column in columns
        if not (slow and ATTACKS[column].brief is None)
        for start in range(0, count, chunk)
    ]


def digits(start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) and labels (N,) of the test digits from start to stop (excluded)."""
    return _digits().images[start:stop], _digits().labels[start:stop]


def measure(unit: Unit, key: str, device: str = "cpu") -> pd.DataFrame:
    """One row an image: success, ‖δ‖ in each norm, queries, gradients, and where from.

    An image that the defense does not read rightly when clean, or refuses, is beaten at distance 0
    and not attacked; its one query is the clean one. A defense that may refuse is attacked as if it
    did not, and beaten only by what it then lets through. Raises ValueError where the unit's key is
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
        result = unit.column.attack(defended.through, *part, unit.seed, unit.row.slow)
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
    device = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    return {
        "defense": unit.defense, "attack": unit.column.name, "norm": unit.column.norm,
        "epsilon": float("nan") if epsilon is None else float(epsilon), "options": unit.options,
        "weights": unit.weights, "seed": unit.seed, "data": datasets.describe("mnist"),
        "device": device, "commit": code_version(), "date": date.today().isoformat(),
        "library": f"armsrace {armsrace.__version__}, torch {torch.__version__}", "key": unit.key,
    }  # fmt: skip


@cache
def _digits() -> datasets.Dataset:
    return datasets.load("mnist", "test")


@cache
def _sha256(network: str) -> str:
    return zoo.card(network).sha256


@lru_cache(maxsize=2)
def _built(defense: str, device: str) -> Defended:
    return DEFENSES[defense].on(device)
