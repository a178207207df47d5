"""Measuring the units that are left: in this process, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from armsrace.evaluation.arena import store
from armsrace.evaluation.arena.cells import Unit
from armsrace.evaluation.arena.measuring import measure

Outcomes = Iterator[tuple[Unit, pd.DataFrame]]
Progress = Callable[[int, int, Unit], None]
"""How many are done, of how many, and the last of them."""


def run(
    units: Sequence[Unit],
    folder: Path,
    *,
    device: str = "cpu",
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Measure what `folder` does not hold yet, keep each unit as it is finished, count them.

    units: what to measure. device: of torch. scheduler: the address of a Dask scheduler, whose
    workers have this package, the same weights and the same digits; without one, this process
    works alone. A worker that dies is replaced by another; what was finished is never repeated.
    Raises ModuleNotFoundError where a scheduler is given without the extra `scale`, OSError where
    it does not answer, and what an attack raises, with the unit's name as a note.
    """
    left = store.pending(units, folder)
    outcomes = _here(left, device) if scheduler is None else _there(left, device, scheduler)
    for done, (unit, frame) in enumerate(outcomes, start=1):
        store.write(unit, frame, folder)
        if progress is not None:
            progress(done, len(left), unit)
    return len(left)


def _here(units: Sequence[Unit], device: str) -> Outcomes:
    for unit in units:
        try:
            yield unit, measure(unit, unit.key, device)
        except Exception as error:
            error.add_note(f"while measuring {unit.name}")
            raise


def _there(units: Sequence[Unit], device: str, scheduler: str) -> Outcomes:
    distributed = _distributed()
    with distributed.Client(scheduler) as client:
        # Named by unit: a scheduler that already works on one does not start it a second time.
        futures = {
            client.submit(measure, unit, unit.key, device, key=unit.name, pure=False): unit
            for unit in units
        }
        for future in distributed.as_completed(list(futures)):
            yield futures.pop(future), future.result()


def _distributed() -> ModuleType:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a scheduler needs the extra `scale`: pip install 'armsrace[scale]'"
        ) from error
    return distributed
