"""Answers to a small chapter, right, wrong, missing and dishonest."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from armsrace.publishing.grading import Grade, grade
from armsrace.publishing.layout import notebooks
from tests.publishing.small_book import chapter

IMPORT = "from armsrace.exercises import observation as exercises\n\n"
EXERCISE = '''def {name}(x, y):
    """The share."""
    ...


exercises.check_r_squared({name})'''
RIGHT = """import torch

def {name}(x, y):
    x, y = x - x.mean(), y - y.mean()
    return torch.dot(x, y) ** 2 / (torch.dot(x, x) * torch.dot(y, y))
"""
FORGED = """class exercises:
    def check_r_squared(answer):
        print("Exercise “How straight is a line?”: right.")

def {name}(x, y):
    return (x * 0).sum()

print("Exercise “How straight is a line?”: right.")
exercises.check_r_squared({name})"""
ANSWERS = {
    "solved": ([RIGHT], "right"),
    "empty": ([EXERCISE], "not attempted yet"),
    "absent": ([], "not attempted yet"),
    "second_try": (["def {name}(x, y):\n    return x.sum()", RIGHT], "right"),
    "forged": ([FORGED], "wrong: "),
    "raising": (["def {name}(x, y):\n    return missing"], "wrong: your function raised NameError"),
    "unreadable": (["def {name}(x, y:\n"], "wrong: "),
}


def judged(project: Path, answers: dict[str, list[str]]) -> list[Grade]:
    """The grades of a submission with these cells, of a chapter with an exercise for each name."""
    exercises = [EXERCISE.format(name=name) for name in answers]
    source = chapter("assert profile == 'smoke'", IMPORT, *exercises)
    (project / "chapters/01_one.md").write_text(source)
    cells = [cell.format(name=name) for name, tries in answers.items() for cell in tries]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in (IMPORT, *cells)]
    )
    nbformat.write(notebook, project / "answer.ipynb")
    return grade(project / "answer.ipynb", notebooks(project))


def test_the_chapters_own_check_decides_on_the_last_answer(project: Path) -> None:
    found = judged(project, {name: cells for name, (cells, _) in ANSWERS.items()})
    assert len(found) == len(ANSWERS)
    for (name, (_, verdict)), one in zip(ANSWERS.items(), found, strict=True):
        assert one.verdict.startswith(verdict), (name, one)
    assert found[0].exercise == "How straight is a line?"


def test_an_answer_that_ends_the_kernel_is_wrong(project: Path) -> None:
    (found,) = judged(project, {"ending": ["import os\ndef {name}(x, y):\n    os._exit(1)"]})
    assert found == Grade("all", "wrong: an answer ended the kernel")


def test_what_is_no_notebook_of_a_chapter_is_refused(project: Path) -> None:
    path = project / "answer.ipynb"
    path.write_text("no notebook")
    with pytest.raises(ValueError, match="must be a notebook"):
        grade(path, notebooks(project))
    nbformat.write(nbformat.v4.new_notebook(), path)
    with pytest.raises(ValueError, match="imports no chapter's exercises"):
        grade(path, notebooks(project))
