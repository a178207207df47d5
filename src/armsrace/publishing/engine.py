"""Papermill engine that reports progress per cell, and where an error is."""

from __future__ import annotations

import copy
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import jupytext
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, papermill_engines
from traitlets.config import Config

from armsrace.publishing.layout import ChapterError, Layout, Notebook

OnCell = Callable[[int, int], None]
SHORT = "/tmp"
FOLDER_BYTES = 85
"""The longest path of a folder in which a kernel's socket can be: 103 bytes on macOS in all."""
CELL_SECONDS = {"reader": 600, "smoke": 120, "paper": None}


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


def execute(
    notebook: Notebook, fresh: NotebookNode, layout: Layout, on_cell: OnCell, **client: Any
) -> Path:
    """Run a notebook in a kernel of this Python and return the executed notebook's path.

    Args:
        notebook: the page.
        fresh: the notebook as read from text; it is not modified.
        layout: where the build writes.
        on_cell: called with the number of each cell as it starts, and the count of cells.
        client: further options of nbclient.

    Raises:
        ChapterError: a cell failed, the kernel died, or time was up. The executed notebook is
            replaced only after all cells succeeded; the failed one is kept as `NAME.failed.ipynb`.
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
        with socket_folder() as sockets:
            papermill.execute_notebook(
                copy.deepcopy(fresh), part, parameters(notebook, fresh, layout.profile),
                engine_name="armsrace", kernel_name="python3", cwd=notebook.path.parent,
                request_save_on_cell_execute=False, progress_bar=False, on_cell=count,
                execution_timeout=CELL_SECONDS[layout.profile], config=transport(sockets),
                extra_arguments=["--Application.log_level=CRITICAL"],
                shutdown_kernel="immediate",  # asked politely, it takes half a second to end
                **client,
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
    """The values to inject below the cell tagged `parameters`; none for its defaults."""
    tagged = any("parameters" in cell.metadata.get("tags", ()) for cell in fresh.cells)
    if notebook.is_chapter and not tagged:
        raise ChapterError(f"{notebook.label}: a chapter needs a cell tagged `parameters`")
    return {"profile": profile} if tagged and profile != "reader" else {}


def socket_folder() -> TemporaryDirectory[str]:
    """A temporary folder for a kernel's sockets, whose paths the system wants short.

    Raises ChapterError if there is no such place.
    """
    places = [None] if os.name == "nt" else [None, SHORT]
    for place in places:
        folder = TemporaryDirectory(prefix="ar-", dir=place)
        if os.name == "nt" or len(os.fsencode(folder.name)) <= FOLDER_BYTES:
            return folder
        folder.cleanup()
    raise ChapterError(f"{folder.name} is too long a path for sockets: set a shorter TMPDIR")


def transport(folder: str) -> Config:
    """How to talk to the kernel: through files, since kernels take each other's ports."""
    sockets = {"transport": "ipc", "ip": str(Path(folder) / "kernel")}
    return Config({} if os.name == "nt" else {"KernelManager": sockets})


def place(notebook: Notebook, source: str, number: int) -> str:
    """Chapter, cell and line, as an editor understands them."""
    before, found, _ = notebook.path.read_text(encoding="utf-8").partition(source.strip())
    line = f":{before.count(chr(10)) + 1}" if found and source.strip() else ""
    return f"{notebook.label}{line}, cell {number}"


def run(root: str, profile: str, path: str, told: TextIO, **client: Any) -> None:
    """Execute a notebook and report to `told`: one line of JSON per cell, and one at the end.

    client: further options of nbclient.
    """

    def tell(**message: object) -> None:
        print(json.dumps(message), file=told, flush=True)

    notebook, layout = Notebook(Path(path), Path(root)), Layout(profile, Path(root))
    try:
        fresh = jupytext.read(path)
        execute(notebook, fresh, layout, lambda at, of: tell(cell=at, cells=of), **client)
    except ChapterError as error:
        tell(error=str(error))
    else:
        tell(error="")


def main() -> None:
    """Execute the notebook that the arguments name, and report to standard output."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    root, profile, path = sys.argv[1:]
    run(root, profile, path, sys.stdout)


def _end_with_parent() -> None:
    """End this process when its input ends, which happens when the build is killed."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
