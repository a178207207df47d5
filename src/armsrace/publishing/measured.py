"""Collect what the chapters measured into the file that the ledger reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat

from armsrace.ledger.measurements import MIME
from armsrace.publishing.layout import Layout
from armsrace.resources import replacing


def collect(names: Iterable[str], layout: Layout) -> Path:
    """Write the measurements in the outputs of the executed notebooks and return the file's path.

    A claim measured twice keeps its last measurement. The paper profile's file is part of the
    repository and is added to, since its chapters may be executed one by one. Raises ValueError
    naming that file where it cannot be read.
    """
    paper = layout.profile == "paper"
    folder = layout.root / "data" if paper else layout.build
    path = folder / "measured" / f"{layout.profile}.json"
    rows = _stored(path) if paper and path.is_file() else {}
    for name in names:
        rows |= {row["id"]: row for row in measurements(layout.notebooks / f"{name}.ipynb")}
    content = json.dumps([rows[key] for key in sorted(rows)], indent=2) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return path


def measurements(notebook: Path) -> list[dict[str, Any]]:
    """The measurements that an executed notebook shows, in its order."""
    cells = nbformat.read(notebook, 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return [output.data[MIME] for output in outputs if MIME in output.get("data", ())]


def _stored(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return {row["id"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read, restore it: {error!r}") from error
