"""Outcomes on disk: one Parquet file a unit while they are measured, one for all afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import platformdirs

from armsrace.contracts import check_choice
from armsrace.evaluation.arena.cells import Unit
from armsrace.resources import CLONE, data_root, in_clone, replacing

USER = Path(platformdirs.user_data_dir("armsrace"))
FORMATS = (".parquet", ".csv")


class OutcomesError(RuntimeError):
    """A file of outcomes is missing, damaged, or not what its name says."""


def run_folder() -> Path:
    """Where a run keeps its units: in a clone below `_build`, else in the user's data folder."""
    return CLONE / "_build" / "arena" if in_clone() else USER / "arena"


def shipped_path() -> Path:
    """The outcomes that are kept with the source."""
    return data_root() / "measured" / "arena" / "mnist.parquet"


def pending(units: Iterable[Unit], folder: Path) -> list[Unit]:
    """The units without a file: those to measure."""
    return [unit for unit in units if not (folder / unit.name).is_file()]


def write(unit: Unit, outcomes: pd.DataFrame, folder: Path) -> None:
    """Keep a unit's outcomes; a process that dies in the middle leaves no file of that name."""
    with replacing(folder / unit.name) as temporary:
        outcomes.to_parquet(temporary, index=False)


def collected(units: Iterable[Unit], folder: Path) -> pd.DataFrame:
    """The outcomes of all units that are finished, in order.

    Raises OutcomesError where there is none or a file cannot be read or is another unit's.
    """
    frames = []
    for unit in units:
        path = folder / unit.name
        if path.is_file():
            frames.append(read(path))
            if set(frames[-1]["key"]) != {unit.key} or len(frames[-1]) != unit.stop - unit.start:
                raise OutcomesError(f"{path} is another unit's: delete it and run again")
    if not frames:
        raise OutcomesError(f"{folder} holds none of these outcomes: run `armsrace arena run`")
    return pd.concat(frames, ignore_index=True)


def export(outcomes: pd.DataFrame, path: Path) -> None:
    """Write outcomes as .parquet or .csv, by the path's ending; ValueError for another."""
    check_choice("path's ending", path.suffix, FORMATS)
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            outcomes.to_csv(temporary, index=False)
        else:
            outcomes.to_parquet(temporary, index=False, compression="zstd")


def read(path: Path | None = None) -> pd.DataFrame:
    """The outcomes of one Parquet file, by default those kept with the source.

    Raises OutcomesError where it is missing or cannot be read.
    """
    path = path or shipped_path()
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise OutcomesError(f"{path} is missing: run `armsrace arena run`, then export") from error
    except (OSError, ValueError) as error:
        raise OutcomesError(f"{path} cannot be read, delete it and run again: {error}") from error
