"""Answers to a small chapter, right, wrong, missing and dishonest."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from small_book import chapter

from armsrace.publishing.grading import Grade, grade
from armsrace.publishing.layout import notebooks

IMPORT = "from armsrace.exercises import chapter_01 as exercises\n\n"
EMPTY = (
    'def r_squared(x, y):\n    """The share."""\n    ...\n\n\nexercises.check_r_squared(r_squared)'
)
RIGHT = """import torch

def r_squared(x, y):
    x, y = x - x.mean(), y - y.mean()
    return torch.dot(x, y) ** 2 / (torch.dot(x, x) * torch.dot(y, y))
"""
FORGED = """class exercises:
    def check_r_squared(answer):
        print("Exercise 1.3: right.")

def r_squared(x, y):
    return (x * 0).sum()

print("Exercise 1.3: right.")
exercises.check_r_squared(r_squared)"""


def judged(project: Path, *answers: str) -> list[Grade]:
    """The grades of a submission whose cells are the answers."""
    (project / "chapters/01_one.md").write_text(
        chapter("assert profile == 'smoke'", IMPORT + EMPTY)
    )
    cells = [nbformat.v4.new_code_cell(answer) for answer in (IMPORT, *answers)]
    path = project / "answer.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return grade(path, notebooks(project))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (RIGHT, "right"),
        (EMPTY, "not attempted yet"),
        ("def another():\n    ...", "not attempted yet"),
        (FORGED, "wrong: "),
        ("def r_squared(x, y):\n    return missing", "wrong: your function raised NameError"),
        ("def r_squared(x, y:\n", "wrong: "),
    ],
)
def test_the_chapters_own_check_decides(project: Path, answer: str, verdict: str) -> None:
    (found,) = judged(project, answer)
    assert found.verdict.startswith(verdict), found


def test_the_last_answer_counts(project: Path) -> None:
    (found,) = judged(project, "def r_squared(x, y):\n    return x.sum()", RIGHT)
    assert found.exercise == "1.3" and found.verdict.startswith("right")


def test_an_answer_that_ends_the_kernel_is_wrong(project: Path) -> None:
    (found,) = judged(project, "import os\ndef r_squared(x, y):\n    os._exit(1)")
    assert found == Grade("all", "wrong: an answer ended the kernel")


def test_what_is_no_notebook_of_a_chapter_is_refused(project: Path) -> None:
    path = project / "answer.ipynb"
    path.write_text("no notebook")
    with pytest.raises(ValueError, match="must be a notebook"):
        grade(path, notebooks(project))
    nbformat.write(nbformat.v4.new_notebook(), path)
    with pytest.raises(ValueError, match="imports no chapter's exercises"):
        grade(path, notebooks(project))
