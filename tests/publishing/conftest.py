from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import jupytext
import pytest
from rich.console import Console

from armsrace import datasets
from armsrace.publishing import execution, forking
from armsrace.publishing.engine import execute
from armsrace.publishing.layout import ChapterError, Layout, Notebook
from armsrace.publishing.repository import VARIABLE
from tests.publishing.small_book import COUNTING, chapter

IN_PROCESSES = execution.outcomes


def in_this_process(
    chapters: Sequence[Notebook], layout: Layout, console: Console
) -> Iterator[execution.Outcome]:
    """What execution.outcomes does, without the seconds in which a new process imports torch."""
    for page in chapters:
        try:
            execute(page, jupytext.read(page.path), layout, lambda at, of: None)
            yield execution.Outcome(page, 1.0, "")
        except ChapterError as error:
            yield execution.Outcome(page, 1.0, str(error))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of one chapter that notes in runs.txt each time that it is executed."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(datasets, "describe", lambda name: f"{name} of the tests")
    monkeypatch.setattr(execution, "outcomes", in_this_process)
    for folder in (
        "chapters",
        "book",
        "src/armsrace/publishing",
        "src/armsrace/cli",
        "data/checkpoints",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nparts:\n- chapters:\n  - file: chapters/01_one\n"
    )
    (tmp_path / "book/intro.md").write_text("# An introduction\n")
    (tmp_path / "chapters/01_one.md").write_text(chapter(COUNTING))
    (tmp_path / "src/armsrace/attack.py").write_text("STEP = 1\n")
    (tmp_path / "src/armsrace/cli/book.py").write_text("")
    (tmp_path / "src/armsrace/publishing/site.py").write_text("")
    (tmp_path / "data/claims.yml").write_text("claims: []\n")
    (tmp_path / "requirements.lock").write_text("torch==2\n")
    return tmp_path


@pytest.fixture
def processes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the project's notebooks run as they do in a build, each in processes of its own."""
    monkeypatch.setattr(execution, "outcomes", IN_PROCESSES)
    monkeypatch.setattr(forking, "AVAILABLE", False)


@pytest.fixture
def forks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let them run as they do in a build on Linux, in copies of one process."""
    monkeypatch.setattr(execution, "outcomes", IN_PROCESSES)
