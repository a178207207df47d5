"""Outcomes on disk: one Parquet file per job while a run goes on, one for all afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import platformdirs

from armsrace.contracts import check_choice
from armsrace.evaluation.arena.attacks import ATTACKS, BUDGETS
from armsrace.evaluation.arena.defenses import DEFENSES
from armsrace.evaluation.arena.jobs import Job
from armsrace.evaluation.arena.rankings import matrix
from armsrace.resources import CLONE, data_root, in_clone, replacing

USER = Path(platformdirs.user_data_dir("armsrace"))
FORMATS = (".parquet", ".csv")
CELL = ["defense", "attack", "norm", "seed", "image"]
"""What an outcome is of. A second measurement of the same cell replaces the first."""


class OutcomesError(RuntimeError):
    """A file of outcomes is missing, damaged, or another job's."""


def run_folder() -> Path:
    """Where a run keeps its outcomes: below `_build` in a clone, else in the user's data folder.

    It is not committed, and `make clean` removes it in a clone: a finished run is exported.
    """
    return CLONE / "_build" / "arena" if in_clone() else USER / "arena"


def shipped_path() -> Path:
    """The file of outcomes that comes with the source."""
    return data_root() / "measured" / "arena" / "mnist.parquet"


def pending(jobs: Iterable[Job], folder: Path) -> list[Job]:
    """The jobs without a file: those still to run."""
    return [job for job in jobs if not (folder / job.name).is_file()]


def write(job: Job, outcomes: pd.DataFrame, folder: Path) -> None:
    """Write a job's outcomes; a process that dies in the middle leaves no file of that name."""
    with replacing(folder / job.name) as temporary:
        outcomes.to_parquet(temporary, index=False)


def collected(units: Iterable[Job], folder: Path) -> pd.DataFrame:
    """The outcomes of all finished jobs, in order.

    Raises:
        OutcomesError: no job is finished, or a file cannot be read or is another job's.
    """
    frames = []
    for job in units:
        path = folder / job.name
        if path.is_file():
            frames.append(read(path))
            if set(frames[-1]["key"]) != {job.key} or len(frames[-1]) != job.stop - job.start:
                raise OutcomesError(f"{path} is another job's: delete it and run again")
    if not frames:
        raise OutcomesError(f"{folder} holds none of these outcomes: run `armsrace arena run`")
    return pd.concat(frames, ignore_index=True)


def publish(outcomes: pd.DataFrame, folder: Path) -> None:
    """Write outcomes.csv, one row per digit and cell, and settings.csv, one row per cell."""
    keys = ["defense", "attack", "norm", "seed"]
    found = ["image", "label", "clean", "success", "linf", "l2", "l0", "queries", "gradients"]
    made = ["epsilon", "options", "weights", "data", "device", "library", "date", "commit"]
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"outcomes": outcomes[keys + found], "settings": outcomes[keys + made]}
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv") as temporary:
            text = table.drop_duplicates().to_csv(index=False, float_format="%.6g")
            temporary.write_text(text, encoding="utf-8")


def publish_images(outcomes: pd.DataFrame, folder: Path) -> None:
    """Write the image behind each cell (images.png) and what the site says of it (images.json).

    They were recorded by benchmarks/arena_images.py; without a recording nothing is written.
    """
    recorded = shipped_path().with_name("images.json")
    if not recorded.is_file():
        return
    described = json.loads(recorded.read_text(encoding="utf-8"))
    table = matrix(outcomes)
    for cell in described["cells"]:
        label = f"{cell['attack']}-{cell['norm']}"
        known = cell["defense"] in table.index and label in table.columns
        kept = table.loc[cell["defense"], label] if known else float("nan")
        cell["accuracy"] = None if pd.isna(kept) else float(kept)
    described["titles"] = {cell["defense"]: DEFENSES[cell["defense"]].title
                           for cell in described["cells"]}  # fmt: skip
    described["budgets"] = dict(BUDGETS)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "images.json") as temporary:
        temporary.write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    with replacing(folder / "images.png") as temporary:
        temporary.write_bytes(recorded.with_suffix(".png").read_bytes())


def merged(outcomes: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Outcomes put among the stored ones, in the order of the tables.

    An outcome replaces the stored one of the same defense, attack, norm, seed and image, also if
    its key is another, since the weights or the options have changed.

    Raises:
        OutcomesError: the two were measured on other digits.
    """
    kept, added = ({text.partition(", from ")[0] for text in part["data"]}
                   for part in (stored, outcomes))  # fmt: skip
    if kept and added != kept:
        raise OutcomesError(
            f"the stored outcomes are of {', '.join(sorted(kept))}, these of "
            f"{', '.join(sorted(added))}: export them to a file of their own"
        )
    both = pd.concat([stored, outcomes], ignore_index=True).drop_duplicates(CELL, keep="last")
    cells = (
        (row, entry.name, entry.norm)
        for slow in (False, True)
        for row in DEFENSES
        if DEFENSES[row].slow is slow
        for entry in ATTACKS.values()
    )
    order = {cell: place for place, cell in enumerate(cells)}
    found = zip(both["defense"], both["attack"], both["norm"], strict=True)
    place = pd.Series([order.get(cell, len(order)) for cell in found], both.index)
    both = both.assign(place=place).sort_values(["place", "seed", "image"], kind="stable")
    return both.drop(columns="place").reset_index(drop=True)


def export(outcomes: pd.DataFrame, path: Path) -> None:
    """Write outcomes as Parquet or CSV, by the path's ending: .parquet or .csv."""
    check_choice("path's ending", path.suffix, FORMATS)
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            outcomes.to_csv(temporary, index=False)
        else:
            outcomes.to_parquet(temporary, index=False, compression="zstd")


def read(path: Path | None = None) -> pd.DataFrame:
    """The outcomes in a Parquet file, by default the one that comes with the source.

    Raises:
        OutcomesError: the file is missing or cannot be read.
    """
    path = path or shipped_path()
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise OutcomesError(f"{path} is missing: run `armsrace arena run`, then export") from error
    except (OSError, ValueError) as error:
        raise OutcomesError(f"{path} cannot be read, delete it and run again: {error}") from error
