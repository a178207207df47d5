from __future__ import annotations

import json
import runpy
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest

from armsrace.publishing import layout
from armsrace.publishing.execution import processor_name
from armsrace.publishing.layout import Layout
from armsrace.publishing.times import excesses, times
from armsrace.resources import CLONE
from tests.publishing.small_book import chapter, execute


@pytest.fixture
def book(project: Path) -> Path:
    """A book of one chapter with a quick cell and a slow one."""
    slow = "import time\ntime.sleep(0.3)"
    (project / "chapters/01_one.md").write_text(chapter("# The quick one.\nx = 1", slow))
    return project


def rewrite(project: Path, **changes: object) -> None:
    path = project / "_build/records/reader/01_one.json"
    (found,), _ = times(Layout("reader", project))
    path.write_text(json.dumps(asdict(replace(found.record, **changes))))


def command(project: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run benchmarks/book_times.py on the project."""
    monkeypatch.setattr(layout, "Layout", partial(Layout, root=project))
    monkeypatch.setattr(sys, "argv", ["book_times.py", *arguments])
    runpy.run_path(str(CLONE / "benchmarks" / "book_times.py"), run_name="__main__")


@pytest.mark.parametrize("profile", ["reader", "smoke"])
def test_cells_are_told_apart_and_start_up_is_the_rest(book: Path, profile: str) -> None:
    execute(book, profile)
    (found,), absent = times(Layout(profile, book))
    assert absent == []
    seconds, line = found.slowest(1)[0]
    assert seconds >= 0.3 and line == "import time"
    rest = {line for _, line in found.slowest(9)[1:]}
    assert rest == {'profile = "reader"', "# The quick one."}
    assert found.startup == pytest.approx(1.0 - sum(found.record.cells))
    assert found.record.processor == processor_name() != ""


def test_excesses_are_those_over_the_budget(book: Path) -> None:
    place = Layout("reader", book)
    assert excesses(*times(place)) == ["chapters/01_one.md was not executed"]
    execute(book)
    assert excesses(*times(place)) == []
    rewrite(book, seconds=91.0)
    assert excesses(*times(place)) == [
        "chapters/01_one.md took 91 s, 90 s allowed", "91 s a page on average, 40 s allowed",
    ]  # fmt: skip
    (found,), _ = times(place)
    many = [replace(found, record=replace(found.record, seconds=39.0))] * 19
    assert excesses(many, []) == ["741 s in all, 720 s allowed"]


def test_command_fails_only_where_it_is_asked_to_check(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(book)
    command(book, monkeypatch, "--check", "--slowest", "1")
    printed = capsys.readouterr().out
    assert "chapters/01_one.md" in printed and "import time" in printed
    assert "The quick one" not in printed and "1 pages in 1 s of 720 s" in printed
    rewrite(book, seconds=91.0)
    command(book, monkeypatch)
    assert "took 91 s" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="1"):
        command(book, monkeypatch, "--check")
