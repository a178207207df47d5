"""The work of the arena cut into units: one defense, one attack in one norm, a few images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from torch import Tensor

from armsrace import datasets
from armsrace.contracts import Norm, check_choice, check_count
from armsrace.evaluation.arena.attacks import ATTACKS, Entry
from armsrace.evaluation.arena.defenses import DEFENSES, Defense
from armsrace.models import zoo

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


@cache
def _digits() -> datasets.Dataset:
    return datasets.load("mnist", "test")


@cache
def _sha256(network: str) -> str:
    return zoo.card(network).sha256
