"""Execute several notebooks at once, each in processes of its own, and show how far each is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from armsrace.publishing import forking
from armsrace.publishing.layout import Layout, Notebook

Start = Callable[[tuple[str, str, str]], AbstractContextManager[Iterable[str]]]
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000"}


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: error is empty where all cells did well."""

    chapter: Notebook
    seconds: float
    error: str


def outcomes(chapters: Sequence[Notebook], layout: Layout, console: Console) -> Iterator[Outcome]:
    """Execute the notebooks, one a core, and yield each one's outcome as it ends.

    The paper profile is for a GPU, which chapters would only fight for: it takes one at a time.
    """
    cores = os.cpu_count() or 1
    workers = 1 if layout.profile == "paper" else max(1, min(cores, len(chapters)))
    environment = _environment(max(1, cores // workers))
    # One notebook would wait for a server as long as for its own imports. The paper profile is for
    # a GPU, whose driver does not survive a fork.
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


@contextmanager
def spawned(
    environment: Mapping[str, str], arguments: tuple[str, str, str]
) -> Iterator[Iterable[str]]:
    """What an engine in a process of its own tells while it executes, line by line, to its end."""
    command = [sys.executable, "-m", "armsrace.publishing.engine", *arguments]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # since stdout is a pipe
        yield process.stdout


def _run(chapter: Notebook, layout: Layout, start: Start, move: Callable[..., None]) -> Outcome:
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


def _environment(threads: int) -> dict[str, str]:
    """The environment variables that kernels see.

    A kernel called python3 that the user installed elsewhere must not be taken, and a relative
    data folder must not be looked for from the chapter's folder. By default glibc hands the memory
    of each large tensor back and has it zeroed anew, which costs a chapter up to a quarter of its
    time; what the user has set for the allocator or the threads holds.
    """
    ours = {"ARMSRACE_BUILD": "1", "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter")}
    if data := os.environ.get("ARMSRACE_DATA"):
        ours["ARMSRACE_DATA"] = str(Path(data).resolve())
    defaults = {"OMP_NUM_THREADS": str(threads)} | KEEP_MEMORY
    return defaults | os.environ | ours


def _mover(bars: Progress, bar: int) -> Callable[..., None]:
    return lambda **progress: bars.update(bar, **progress)  # type: ignore[arg-type]


def _progress(console: Console) -> Progress:
    """A bar a chapter; a log, which cannot redraw a line, is spared them."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    still = not console.is_terminal
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=still)
