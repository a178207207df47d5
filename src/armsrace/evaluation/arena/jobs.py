"""The work of the arena, cut into jobs: one defense, one attack in one norm, a few images."""

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
class Job:
    """One attack on one defense, on test digits from start to stop (excluded), with one seed."""

    defense: str
    attack: str
    start: int
    stop: int
    seed: int = 0

    @property
    def row(self) -> Defense:
        """The defense."""
        return DEFENSES[self.defense]

    @property
    def column(self) -> Entry:
        """The attack."""
        return ATTACKS[self.attack]

    @property
    def name(self) -> str:
        """The file of its outcomes, below the run's folder."""
        cell = f"{self.defense}/{self.attack}"
        return f"{cell}/{self.start:05d}-{self.stop:05d}-{self.key[:16]}.parquet"

    @property
    def options(self) -> str:
        """The attack's keywords, as JSON."""
        return json.dumps(self.column.settings(self.row.slow), sort_keys=True)

    @property
    def weights(self) -> str:
        """The sha256 of each network, the defense's and the attacker's, as JSON."""
        names = (*self.row.networks, *self.column.networks)
        return json.dumps({name: _sha256(name) for name in names})

    @cached_property
    def key(self) -> str:
        """The hash of everything but the code that decides the outcome.

        That is the defense's settings, the weights, the attack's options, the seed and the images.
        A job whose key has changed is run again.
        """
        images, labels = digits(self.start, self.stop)
        pixels = images.numpy().tobytes() + labels.numpy().tobytes()
        parts = (self.defense, self.attack, self.start, self.stop, self.seed, self.options)
        made = json.dumps([*parts, self.weights, dict(self.row.settings)]).encode()
        return hashlib.sha256(made + hashlib.sha256(pixels).digest()).hexdigest()


def arena_jobs(
    count: int,
    *,
    defenses: Sequence[str] = (),
    attacks: Sequence[str] = (),
    seed: int = 0,
    chunk: int = CHUNK,
) -> list[Job]:
    """The jobs of the first test digits, fast defenses first, in the tables' order.

    Args:
        count: how many digits.
        defenses: names to keep, all by default.
        attacks: labels to keep, all by default. A name without a norm keeps all its norms.
        seed: of random attacks.
        chunk: digits per job.
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
        Job(row, column, start, min(start + chunk, count), seed)
        for slow in (False, True)
        for row in rows
        if DEFENSES[row].slow is slow
        for column in columns
        if not (slow and ATTACKS[column].reduced_options is None)
        if set(ATTACKS[column].needs) <= set(DEFENSES[row].explains)
        for start in range(0, count, chunk)
    ]


def digits(start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) and labels (N,) of the test digits from start to stop (excluded)."""
    return _digits().images[start:stop], _digits().labels[start:stop]


@cache
def _digits() -> datasets.Dataset:
    """The test digits."""
    return datasets.load("mnist", "test")


@cache
def _sha256(network: str) -> str:
    """The checksum in a network's card."""
    return zoo.card(network).sha256
