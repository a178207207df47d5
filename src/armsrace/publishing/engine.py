"""Papermill with a word after each cell, and an error that says where it happened."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines

from armsrace.publishing.layout import Layout, Notebook

OnCell = Callable[[int, int], None]
CELL_SECONDS = {"reader": 600, "smoke": 120, "paper": None}


class ChapterError(Exception):
    """A cell of a chapter failed; the message names chapter, cell and error."""


class ReportingEngine(NBClientEngine):
    """The standard engine, which calls `on_cell(number, cells)` as each cell starts."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: Any, kernel_name: str, on_cell: OnCell, **kwargs: Any
    ) -> Any:
        """Execute as papermill does."""
        start = nb_man.cell_start

        def cell_start(cell: NotebookNode, cell_index: int, **rest: Any) -> None:
            on_cell(cell_index + 1, len(nb_man.nb.cells))
            start(cell, cell_index, **rest)

        nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)


papermill_engines.register("armsrace", ReportingEngine)


def execute(notebook: Notebook, fresh: NotebookNode, layout: Layout, on_cell: OnCell) -> Path:
    """Run a notebook in a kernel of this very Python and return where its outputs lie.

    fresh: the notebook as read from text, left as it is. The result takes its place only when
    all cells ended well; the notebook of a failure is kept beside it as `NAME.failed.ipynb`.
    Raises ChapterError where a cell fails, the kernel dies or time is up.
    """
    layout.notebooks.mkdir(parents=True, exist_ok=True)
    done = layout.notebooks / f"{notebook.name}.ipynb"
    failed, part = done.with_suffix(".failed.ipynb"), done.with_suffix(f".{os.getpid()}.ipynb")
    at = 0

    def count(number: int, cells: int) -> None:
        nonlocal at
        at = number
        on_cell(number, cells)

    try:
        with kernel_environment():
            papermill.execute_notebook(
                copy.deepcopy(fresh), part, parameters(notebook, fresh, layout.profile),
                engine_name="armsrace", kernel_name="python3", cwd=notebook.path.parent,
                request_save_on_cell_execute=False, progress_bar=False, on_cell=count,
                execution_timeout=CELL_SECONDS[layout.profile],
                extra_arguments=["--Application.log_level=CRITICAL"],
            )  # fmt: skip
        part.replace(done)
    except papermill.PapermillExecutionError as error:
        part.replace(failed)
        where = place(notebook, error.source, error.cell_index + 1)
        raise ChapterError(f"{where}: {error.ename}: {error.evalue}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        where = place(notebook, fresh.cells[min(at, len(fresh.cells)) - 1].source, at)
        raise ChapterError(f"{where}: {type(error).__name__}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    return done


def parameters(notebook: Notebook, fresh: NotebookNode, profile: str) -> dict[str, str]:
    """What is injected below the cell tagged `parameters`; nothing where its defaults hold."""
    tagged = any("parameters" in cell.metadata.get("tags", ()) for cell in fresh.cells)
    if notebook.is_chapter and not tagged:
        raise ChapterError(f"{notebook.label}: a chapter needs a cell tagged `parameters`")
    return {"profile": profile} if tagged and profile != "reader" else {}


def place(notebook: Notebook, source: str, number: int) -> str:
    """Chapter, cell and line, as an editor understands them."""
    before, found, _ = notebook.path.read_text(encoding="utf-8").partition(source.strip())
    line = f":{before.count(chr(10)) + 1}" if found and source.strip() else ""
    return f"{notebook.label}{line}, cell {number}"


@contextmanager
def kernel_environment() -> Iterator[None]:
    """The environment variables that a build's kernels see; the caller's are put back.

    A kernel called python3 that the user installed elsewhere must not be taken, and a relative
    data folder must not be looked for from the chapter's folder.
    """
    ours = {"ARMSRACE_BUILD": "1", "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter")}
    if data := os.environ.get("ARMSRACE_DATA"):
        ours["ARMSRACE_DATA"] = str(Path(data).resolve())
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
