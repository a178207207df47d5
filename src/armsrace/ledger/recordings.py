"""Curves and tables that take longer than a page may: measured by a benchmark, kept with source."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from armsrace.ledger.measurements import device_name
from armsrace.resources import code_version, data_root, replacing


class Recording(BaseModel):
    """Columns of numbers, all measured on the same n images.

    columns: name to numbers, rates in [0, 1]. settings: what was run, in one line. data, device,
    date and commit: on what, where, when and with which code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, list[float]]
    settings: str
    n: int
    data: str
    device: str
    date: str
    commit: str

    @property
    def provenance(self) -> str:
        """One line to stand under a figure or a table."""
        data = self.data.partition(", from ")[0]
        return f"n = {self.n:,}; {data}; {self.device}; {self.date}; {self.commit}"


ROWS = TypeAdapter(dict[str, Recording])


def recorded(study: str) -> dict[str, Recording]:
    """The recordings of data/measured/STUDY.json by name.

    Raises FileNotFoundError where nothing was recorded, ValueError naming an unreadable file.
    """
    path = _path(study)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the study's script in benchmarks/")
    try:
        return ROWS.validate_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read, record it again: {error}") from error


def record(
    study: str, name: str, columns: dict[str, list[float]], *, settings: str, n: int, data: str
) -> Recording:
    """Add one recording to the study's file, or replace it there."""
    found = Recording(
        columns=columns, settings=settings, n=n, data=data,
        device=device_name(), date=date.today().isoformat(), commit=code_version(),
    )  # fmt: skip
    rows = (recorded(study) if _path(study).is_file() else {}) | {name: found}
    content = {key: rows[key].model_dump() for key in sorted(rows)}
    with replacing(_path(study)) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return found


def _path(study: str) -> Path:
    return data_root() / "measured" / f"{study}.json"
