"""The class's board: what it grades again, whom it ranks first, what it tells and what it keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from armsrace import cli
from armsrace.publishing import board, layout
from armsrace.publishing.grading import Grade
from armsrace.publishing.layout import Notebook, notebooks
from tests.publishing.small_book import chapter

TEXT = """# A title

## Exercises

### One

★, 10 minutes. Do it.

### Two

★★★, 30 minutes, an open challenge. Do it.
"""
NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def chapters(tmp_path: Path) -> list[Notebook]:
    path = tmp_path / "book" / "chapters" / "01_fgsm.md"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    return [Notebook(path, tmp_path / "book")]


class Grader:
    """Reads the verdicts from the submitted notebook's second cell."""

    def __init__(self) -> None:
        self.graded: list[str] = []

    def __call__(self, path: Path, chapters: Sequence[Notebook]) -> list[Grade]:
        self.graded.append(path.stem)
        verdicts = json.loads(nbformat.read(path, 4).cells[1].source)
        return [Grade(name, verdict) for name, verdict in verdicts.items()]


def hand_in(folder: Path, name: str, **verdicts: str) -> None:
    cells = ["from armsrace.exercises import fgsm as exercises", json.dumps(verdicts)]
    path = folder / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(map(new_code_cell, cells))), path)


def rows(page: str) -> list[str]:
    """The names in the order of the page."""
    return [part.split("<")[0] for part in page.split('<th scope="row">')[1:]]


def test_points_are_stars_and_ties_go_to_the_earlier(tmp_path: Path, chapters) -> None:
    folder, out, grader = tmp_path / "in", tmp_path / "out", Grader()
    clock = iter(NOON + timedelta(minutes=minute) for minute in range(9))

    def look() -> str:
        board.update(folder, out, chapters, grader=grader, now=lambda: next(clock))
        return (out / board.PAGE).read_text()

    folder.mkdir()
    assert "Nothing has been handed in yet" in look()
    hand_in(folder, "late", One="wrong: no", Two="not attempted yet.")
    hand_in(folder, "early", One="right. Good.", Two="wrong: no")
    assert rows(look()) == ["early", "late"]
    hand_in(folder, "late", One="right. Good.", Two="not attempted yet.")
    assert rows(look()) == ["early", "late"]
    hand_in(folder, "late", One="wrong: broken again", Two="right. Good.")
    page = look()
    assert rows(page) == ["late", "early"]
    assert page.count("✓ <time") == 3, "what was right once stays so"
    assert "★★★ open challenge" in page and page.count(">4<") == 1
    assert "broken again" not in page, "hints are not for all"
    assert "01-15 12:00 UTC" in page


def test_only_what_has_changed_is_graded_again(tmp_path: Path, chapters) -> None:
    folder, out, grader = tmp_path / "in", tmp_path / "out", Grader()
    hand_in(folder, "ann", One="right.", Two="wrong: no")
    hand_in(folder, "bob/01_fgsm/answer", One="right.", Two="right.")
    hand_in(folder, ".ipynb_checkpoints/copy", One="right.")
    assert board.update(folder, out, chapters, grader=grader) == [
        "ann.ipynb", "bob/01_fgsm/answer.ipynb",
    ]  # fmt: skip
    assert rows((out / board.PAGE).read_text()) == ["bob", "ann"]
    assert board.update(folder, out, chapters, grader=grader) == []
    hand_in(folder, "ann", One="right.", Two="wrong: still")
    assert board.update(folder, out, chapters, grader=grader) == ["ann.ipynb"]
    assert grader.graded == ["ann", "answer", "ann"]
    (folder / "ann.ipynb").unlink()
    board.update(folder, out, chapters, grader=grader)
    assert rows((out / board.PAGE).read_text()) == ["bob"]


def test_what_cannot_be_graded_is_named_and_names_are_escaped(tmp_path: Path, chapters) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    hand_in(folder, "<b>eve", One="right.", Two="right.")
    (folder / "broken.ipynb").write_text("no notebook")
    board.update(folder, out, chapters, grader=Grader())
    page = (out / board.PAGE).read_text()
    assert "cannot be graded: broken." in page
    assert "&lt;b&gt;eve" in page and "<b>" not in page
    (out / board.RESULTS).write_text("[]")
    with pytest.raises(ValueError, match=r"results\.json cannot be read, remove it"):
        board.update(folder, out, chapters, grader=Grader())


ANSWER = """def r_squared(x, y):
    x, y = x - x.mean(), y - y.mean()
    return (x @ y) ** 2 / ((x @ x) * (y @ y))"""


def test_command_grades_by_the_checks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "from armsrace.exercises import observation as exercises"
    exercise = "def r_squared(x, y):\n    ...\n\n\nexercises.check_r_squared(r_squared)"
    prose = "## Exercises\n\n### How straight is a line?\n\n★, 10 minutes. Say it."
    path = project / "chapters/01_observation.md"
    path.write_text(chapter(line, exercise, prose=prose))
    monkeypatch.setattr(layout, "notebooks", lambda: [Notebook(path, project)])
    folder = project / "in"
    folder.mkdir()
    for name, answer in {"ann": ANSWER, "bob": "def r_squared(x, y):\n    return x @ y"}.items():
        cells = list(map(new_code_cell, (line, answer)))
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")
    command = ["board", str(folder), str(project / "out"), "--once"]
    outcome = CliRunner().invoke(cli.app, command)
    assert outcome.exit_code == 0, outcome.output
    assert "graded ann.ipynb" in outcome.stdout and "graded bob.ipynb" in outcome.stdout
    page = (project / "out" / board.PAGE).read_text()
    assert rows(page) == ["ann", "bob"] and "How straight is a line?" in page


def test_exercises_have_the_topic_of_their_chapter() -> None:
    """The board finds a submission's chapter by it."""
    for page in notebooks():
        if page.is_chapter:
            assert f"from armsrace.exercises import {page.topic} as" in page.path.read_text()
