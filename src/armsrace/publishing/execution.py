"""Execute each notebook once and keep its outputs where Jupyter Book finds them.

`execute_chapters` executes the notebooks whose key has changed, several at once, each in a process
of its own, and stores the outputs in the notebook as it was written.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import jupytext
import nbformat
from jupyter_cache import get_cache
from jupyter_cache.cache.main import CacheBundleIn, JupyterCacheBase
from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from armsrace import datasets
from armsrace.datasets.search import own_root
from armsrace.precision import reduced_precision
from armsrace.publishing import forking
from armsrace.publishing.layout import FailedNotebooksError, Layout, Notebook
from armsrace.resources import device_name, replacing

DATA_SETS = ("mnist", "cifar10")
INJECTED = "injected-parameters"
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000"}
Start = Callable[[tuple[str, str, str]], AbstractContextManager[Iterable[str]]]


@dataclass(frozen=True)
class Record:
    """The facts of one execution; they are printed under the page's title."""

    key: str
    seconds: float
    date: str
    device: str
    data: str
    profile: str
    processor: str
    """The processor's name, as the system gives it."""
    cells: tuple[float, ...]
    """The seconds of each code cell, in the notebook's order."""

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """A stored record, or None if none can be read: the notebook was not executed."""
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            return cls(**row | {"cells": tuple(row["cells"])})
        except (FileNotFoundError, KeyError, ValueError, TypeError):
            return None


@dataclass(frozen=True)
class Outcome:
    """How an execution ended; `error` is empty if all cells succeeded."""

    chapter: Notebook
    seconds: float
    error: str


def execute_chapters(
    chapters: Sequence[Notebook],
    layout: Layout,
    *,
    force: bool = False,
    depends: Sequence[Path] = (),
    console: Console | None = None,
) -> list[Record]:
    """Execute the notebooks whose outputs are stale, show progress, and return all records.

    Args:
        chapters: the notebooks.
        layout: where the build reads and writes.
        force: execute the others too.
        depends: further files that the outputs come from.
        console: where progress is shown.

    Returns:
        The records, in the order of the notebooks.

    Raises:
        FailedNotebooksError: some notebooks failed; it names each, after all were tried. A failed
            notebook keeps neither its record nor its outputs, but its page shows the error.
    """
    console = console or Console()
    key = library_key(layout.root, layout.profile) + digest_files(depends, layout.root)
    records = {}
    for page in chapters:
        if not force and (record := cached(page, layout, key)):
            records[page] = record
    stale = [page for page in chapters if page not in records]
    stale.sort(key=lambda page: _last_seconds(page, layout), reverse=True)
    texts = {page: page.path.read_text(encoding="utf-8") for page in stale}
    for page in stale:
        _record_path(page, layout).unlink(missing_ok=True)
    problems: dict[Notebook, str] = {}
    for outcome in outcomes(stale, layout, console):
        page, error = outcome.chapter, outcome.error
        if not error and page.path.read_text(encoding="utf-8") != texts[page]:
            error = f"{page.label}: changed while it was executed, build again"
        if error:
            console.print(f"FAILED {error}", style="bold red", soft_wrap=True, markup=False)
            problems[page] = error
            _fail(page, layout, error)
            continue
        records[page] = _store(page, layout, key, outcome.seconds)
        failure_path(page, layout).unlink(missing_ok=True)
        console.print(f"executed {page.label} in {outcome.seconds:.1f} s", highlight=False)
    if problems:
        raise FailedNotebooksError(problems)
    return [records[page] for page in chapters]


def cached(chapter: Notebook, layout: Layout, key: str) -> Record | None:
    """The record of an execution that is still valid; the notebook's prose is updated."""
    record = Record.read(_record_path(chapter, layout))
    fresh = jupytext.read(chapter.path)
    if record is None or record.key != _key(fresh, layout, key) or not has_outputs(chapter, layout):
        return None
    done = layout.notebooks / f"{chapter.name}.ipynb"
    try:
        executed = nbformat.read(done, 4)
    except ValueError:
        return None  # Cut short or edited: what cannot be read has to be executed again.
    write(graft(fresh, executed, injected=True), done)
    return record


def has_outputs(chapter: Notebook, layout: Layout) -> bool:
    """Whether Jupyter Book will find outputs of exactly this code, stale or not."""
    done = layout.notebooks / f"{chapter.name}.ipynb"
    try:
        _cache(layout).merge_match_into_notebook(jupytext.read(chapter.path))
    except (KeyError, OSError, ValueError):
        return False  # Never executed, or what the cache holds cannot be read.
    return done.is_file()


def _store(chapter: Notebook, layout: Layout, key: str, seconds: float) -> Record:
    """Store an execution where Jupyter Book finds it. The record comes last: it vouches for it."""
    done = layout.notebooks / f"{chapter.name}.ipynb"
    fresh, executed = jupytext.read(chapter.path), nbformat.read(done, 4)
    cells = tuple(cell_seconds(executed))
    bundle = CacheBundleIn(graft(fresh, executed, injected=False), chapter.label)
    bundle.data["execution_seconds"] = seconds
    _cache(layout).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    write(graft(fresh, executed, injected=True), done)
    record = Record(
        key=_key(fresh, layout, key), seconds=round(seconds, 1), profile=layout.profile,
        date=datetime.now(UTC).date().isoformat(), device=device_name(),
        data=datasets.describe("mnist").partition(", from ")[0], cells=cells,
        processor=processor_name(),
    )  # fmt: skip
    with replacing(_record_path(chapter, layout)) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    return record


def _fail(chapter: Notebook, layout: Layout, error: str) -> None:
    """Store why a notebook failed, and delete what an earlier execution left."""
    (layout.notebooks / f"{chapter.name}.ipynb").unlink(missing_ok=True)
    (layout.slides / f"{chapter.name}.html").unlink(missing_ok=True)
    with replacing(failure_path(chapter, layout)) as temporary:
        temporary.write_text(error, encoding="utf-8")


def failure_path(chapter: Notebook, layout: Layout) -> Path:
    """The file with the error of a notebook's last execution; it exists only after a failure."""
    return layout.records / f"{chapter.name}.failure"


def _key(fresh: NotebookNode, layout: Layout, key: str) -> str:
    """The hash of a notebook's code and of all that it depends on."""
    _, code = _cache(layout).create_hashed_notebook(fresh)
    return hashlib.sha256(f"{layout.profile}|{key}|{code}".encode()).hexdigest()


def _cache(layout: Layout) -> JupyterCacheBase:
    """The jupyter-cache of the profile."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    return get_cache(str(layout.cache))


def _record_path(chapter: Notebook, layout: Layout) -> Path:
    """The file of a notebook's record."""
    return layout.records / f"{chapter.name}.json"


def _last_seconds(chapter: Notebook, layout: Layout) -> float:
    """Seconds of the last execution, by which the longest start first; infinity if unknown."""
    record = Record.read(_record_path(chapter, layout))
    return record.seconds if record else math.inf


@cache
def processor_name() -> str:
    """The processor's name if the system tells it, else its architecture."""
    described = Path("/proc/cpuinfo")
    text = described.read_text(encoding="utf-8") if described.is_file() else ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named.group(1) if named else platform.processor() or platform.machine()


def library_key(root: Path, profile: str) -> str:
    """The hash of everything that a chapter's outputs depend on, except for its own code.

    That is the library (without `publishing` and `cli`), the weights, the claims, the data in use,
    the pinned versions, and the device with the instructions that it computes with. Chapters print
    the paper profile's measurements, so these count too, except for that profile itself: it would
    make itself stale by writing them.
    """
    package, data = root / "src" / "armsrace", root / "data"
    builders = {package / "publishing", package / "cli"}
    sources = [
        path
        for path in files_under(package, pattern="*.py")
        if builders.isdisjoint({path, *path.parents})
    ]
    others = [path for path in (data / "claims.yml", root / "requirements.lock") if path.is_file()]
    folders = [data / "checkpoints"] + ([data / "measured"] if profile != "paper" else [])
    in_use = ";".join(datasets.describe(name) for name in DATA_SETS)
    files = digest_files([*sources, *others, *files_under(*folders)], root)
    device = f"{device_name()}, reduced precision {reduced_precision()}"
    return hashlib.sha256(f"{files}|{in_use}|{device}".encode()).hexdigest()


def digest_files(paths: Iterable[Path], root: Path) -> str:
    """The hash of files, by their paths under root and their bytes."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()}:{content}\n".encode())
    return digest.hexdigest()


def files_under(*folders: Path, pattern: str = "*") -> list[Path]:
    """All files below the folders; a missing folder has none."""
    return [path for folder in folders for path in folder.rglob(pattern) if path.is_file()]


def outcomes(chapters: Sequence[Notebook], layout: Layout, console: Console) -> Iterator[Outcome]:
    """Execute the notebooks, one per core, and yield each one's outcome as it ends.

    The paper profile is for a GPU, so it executes one notebook at a time.
    """
    cores = os.cpu_count() or 1
    workers = 1 if layout.profile == "paper" else max(1, min(cores, len(chapters)))
    environment = kernel_environment(max(1, cores // workers))
    # For one notebook, starting the server takes as long as the imports that it saves. The paper
    # profile is for a GPU, whose driver does not survive a fork.
    forks = forking.AVAILABLE and len(chapters) > 1 and layout.profile != "paper"
    with ExitStack() as stack:
        start: Start = partial(spawned, environment)
        if forks:
            start = stack.enter_context(closing(forking.Server(environment))).started
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        bars = stack.enter_context(_progress(console))
        futures = []
        for chapter in chapters:
            bar = bars.add_task(chapter.label, total=None)
            futures.append(pool.submit(_run, chapter, layout, start, _mover(bars, bar)))
        for future in as_completed(futures):
            yield future.result()


def _run(chapter: Notebook, layout: Layout, start: Start, move: Callable[..., None]) -> Outcome:
    """Execute one notebook and move its bar at each cell."""
    began = time.monotonic()
    error = f"{chapter.label}: its process ended before its last cell"
    with start((str(layout.root), layout.profile, str(chapter.path))) as lines:
        for line in lines:
            # A kernel may write to the same pipe before it has redirected its own output.
            message = json.loads(line) if line.startswith("{") else {}
            error = message.get("error", error)
            if "cell" in message:
                move(completed=message["cell"], total=message["cells"])
    return Outcome(chapter, time.monotonic() - began, error)


@contextmanager
def spawned(
    environment: Mapping[str, str], arguments: tuple[str, str, str]
) -> Iterator[Iterable[str]]:
    """The lines that an engine in a process of its own writes while it executes."""
    command = [sys.executable, "-m", "armsrace.publishing.engine", *arguments]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # since stdout is a pipe
        yield process.stdout


def kernel_environment(threads: int) -> dict[str, str]:
    """The environment variables that kernels see.

    They exclude a kernel called python3 that the user installed elsewhere, and make a relative data
    folder absolute, since a kernel runs in the chapter's folder. By default glibc returns each
    large tensor's memory and gets it zeroed again, which costs a chapter up to a quarter of its
    time. The user's own settings of the allocator and the threads take precedence.
    """
    ours = {
        "ARMSRACE_BUILD": "1",
        "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # or the debugger, which is not used, warns
    }
    if data := own_root():
        ours["ARMSRACE_DATA"] = str(data.resolve())
    defaults = {"OMP_NUM_THREADS": str(threads)} | KEEP_MEMORY
    return defaults | os.environ | ours


def _mover(bars: Progress, bar: int) -> Callable[..., None]:
    """A function that updates one bar."""
    return lambda **progress: bars.update(bar, **progress)  # type: ignore[arg-type]


def _progress(console: Console) -> Progress:
    """One bar per chapter; none in a log, which cannot redraw a line."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    still = not console.is_terminal
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=still)


def graft(fresh: NotebookNode, executed: NotebookNode, *, injected: bool) -> NotebookNode:
    """The notebook as read from text, with the outputs of an execution.

    jupyter-cache hashes all cell metadata, and papermill adds some, so papermill's notebook would
    never match. With `injected`, the cell of parameters that papermill inserted is kept.
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
    """Papermill's time for each code cell, without the cell of parameters that it inserted."""
    cells = own_code_cells(executed)
    return [round(cell.metadata.get("papermill", {}).get("duration") or 0.0, 2) for cell in cells]


def own_code_cells(executed: NotebookNode) -> list[NotebookNode]:
    """The code cells as written, without the cell of parameters that papermill inserted."""
    return [cell for cell in _code_cells(executed) if not _tagged(cell, INJECTED)]


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook unless the file already holds it, so that the file's date is meaningful."""
    content = nbformat.writes(notebook) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tagged(cell: NotebookNode, tag: str) -> bool:
    """Whether a cell has a tag."""
    return tag in cell.metadata.get("tags", ())
