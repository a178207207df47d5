"""The notebook as written, with the outputs of the notebook as executed."""

from __future__ import annotations

import copy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from armsrace.resources import replacing

INJECTED = "injected-parameters"


def graft(fresh: NotebookNode, executed: NotebookNode, *, injected: bool) -> NotebookNode:
    """The notebook as read from text, with the outputs of an execution.

    jupyter-cache hashes all cell metadata, and papermill adds some, so its own notebook would
    never match. injected keeps the cell of parameters that papermill put in.
    """
    whole = copy.deepcopy(fresh)
    for index, cell in enumerate(whole.cells):
        # jupytext draws a random id at each reading; the same notebook should be the same file.
        cell["id"] = f"cell-{index}"
    ran, own = _code_cells(executed), own_code_cells(executed)
    for cell, source in zip(_code_cells(whole), own, strict=True):
        cell.outputs, cell.execution_count = source.outputs, source.execution_count
    if injected and len(own) < len(ran):
        tagged = [_tagged(cell, "parameters") for cell in whole.cells]
        whole.cells.insert(tagged.index(True) + 1, next(x for x in ran if _tagged(x, INJECTED)))
    whole.metadata |= {
        name: executed.metadata[name]
        for name in ("language_info", "widgets")
        if name in executed.metadata
    }
    return whole


def cell_seconds(executed: NotebookNode) -> list[float]:
    """What papermill measured of each code cell, but for the parameters that it put in itself."""
    cells = own_code_cells(executed)
    return [round(cell.metadata.get("papermill", {}).get("duration") or 0.0, 2) for cell in cells]


def own_code_cells(executed: NotebookNode) -> list[NotebookNode]:
    """The code cells as written, without the parameters that papermill put in."""
    return [cell for cell in _code_cells(executed) if not _tagged(cell, INJECTED)]


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook unless the file holds it already, so that its date tells of changes."""
    content = nbformat.writes(notebook) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", ())
