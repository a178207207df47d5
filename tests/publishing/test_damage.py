"""What a build finds damaged is executed again or named, never shown."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from armsrace.publishing.layout import Layout
from armsrace.publishing.site import collect
from tests.publishing.small_book import execute, runs


def only(project: Path, pattern: str) -> Path:
    """The one file of a build that the pattern describes."""
    (found,) = (project / "_build").glob(pattern)
    return found


@pytest.mark.parametrize(
    "pattern",
    [
        "notebooks/reader/01_one.ipynb",
        "records/reader/01_one.json",
        "cache/reader/executed/*/base.ipynb",
    ],
)
def test_what_is_cut_short_is_executed_again(project: Path, pattern: str) -> None:
    execute(project)
    path = only(project, pattern)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    execute(project)
    assert runs(project) == ["reader", "reader"]
    nbformat.read(only(project, "notebooks/reader/01_one.ipynb"), 4)
    assert len(only(project, pattern).read_bytes()) > 100


def test_what_is_missing_is_executed_again(project: Path) -> None:
    execute(project)
    only(project, "notebooks/reader/01_one.ipynb").unlink()
    execute(project)
    assert runs(project) == ["reader", "reader"]


def test_a_stranger_may_kill_the_writing_at_any_byte(project: Path) -> None:
    """A temporary file of a killed build beside the real one is neither read nor in the way."""
    execute(project)
    folder = project / "_build/notebooks/reader"
    (folder / ".01_one.ipynb.killed").write_text('{"cells": [')
    execute(project)
    assert runs(project) == ["reader"]


@pytest.mark.parametrize("text", ["", '[{"id": "a"', "5", '[{"value": 1}]', "[1]"])
def test_damaged_measurements_of_the_paper_profile_are_named(project: Path, text: str) -> None:
    path = project / "data/measured/paper.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=r"paper\.json cannot be read, restore it"):
        collect([], Layout("paper", project))
    assert path.read_text() == text, "what a person may still mend is left as it is"
