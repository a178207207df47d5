"""Execute each notebook once and keep its outputs where Jupyter Book finds them."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import jupytext
import nbformat
from jupyter_cache import get_cache
from jupyter_cache.cache.main import CacheBundleIn, JupyterCacheBase
from nbformat import NotebookNode
from rich.console import Console

from armsrace import datasets
from armsrace.ledger.measurements import device_name
from armsrace.publishing.grafting import cell_seconds, graft, write
from armsrace.publishing.keys import digest_files, library_key
from armsrace.publishing.layout import FailedNotebooksError, Layout, Notebook
from armsrace.publishing.workers import outcomes
from armsrace.resources import replacing


@dataclass(frozen=True)
class Record:
    """What is known of one execution; printed under the page's title."""

    key: str
    seconds: float
    date: str
    device: str
    data: str
    profile: str
    processor: str
    """Its name, as the system gives it."""
    cells: tuple[float, ...]
    """Seconds of each code cell, in the notebook's order."""

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """A stored record; None where there is none that can be read, which means: not executed."""
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            return cls(**row | {"cells": tuple(row["cells"])})
        except (FileNotFoundError, KeyError, ValueError, TypeError):
            return None


def execute_chapters(
    chapters: Sequence[Notebook],
    layout: Layout,
    *,
    force: bool = False,
    depends: Sequence[Path] = (),
    console: Console | None = None,
) -> list[Record]:
    """Execute the notebooks whose outputs are stale, show progress, and return all records.

    force executes the others too; depends: further files that the outputs come from.
    All are tried; then FailedNotebooksError is raised where some failed, naming each. Of those
    neither record nor outputs are left, but the error, for their pages to show.
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
    """The record of an execution that still holds, with the prose of its notebook renewed."""
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
    """Whether Jupyter Book will find outputs of this very code, be they stale or not."""
    done = layout.notebooks / f"{chapter.name}.ipynb"
    try:
        _cache(layout).merge_match_into_notebook(jupytext.read(chapter.path))
    except (KeyError, OSError, ValueError):
        return False  # Never executed, or what the cache holds cannot be read.
    return done.is_file()


def _store(chapter: Notebook, layout: Layout, key: str, seconds: float) -> Record:
    """Put an execution where Jupyter Book finds it; the record, vouching for it, comes last."""
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
    """Keep why a notebook failed, and nothing of an earlier execution that could pass for it."""
    (layout.notebooks / f"{chapter.name}.ipynb").unlink(missing_ok=True)
    (layout.slides / f"{chapter.name}.html").unlink(missing_ok=True)
    with replacing(failure_path(chapter, layout)) as temporary:
        temporary.write_text(error, encoding="utf-8")


def failure_path(chapter: Notebook, layout: Layout) -> Path:
    """Where the error of a notebook's last execution lies; no file where there was none."""
    return layout.records / f"{chapter.name}.failure"


def _key(fresh: NotebookNode, layout: Layout, key: str) -> str:
    """The hash of a notebook's code and of all that it depends on."""
    _, code = _cache(layout).create_hashed_notebook(fresh)
    return hashlib.sha256(f"{layout.profile}|{key}|{code}".encode()).hexdigest()


@cache
def processor_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    described = Path("/proc/cpuinfo")
    text = described.read_text(encoding="utf-8") if described.is_file() else ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named.group(1) if named else platform.processor() or platform.machine()


def _cache(layout: Layout) -> JupyterCacheBase:
    layout.cache.mkdir(parents=True, exist_ok=True)
    return get_cache(str(layout.cache))


def _last_seconds(chapter: Notebook, layout: Layout) -> float:
    """What the last execution took, so that the longest start first; infinity if not known."""
    record = Record.read(_record_path(chapter, layout))
    return record.seconds if record else math.inf


def _record_path(chapter: Notebook, layout: Layout) -> Path:
    return layout.records / f"{chapter.name}.json"
