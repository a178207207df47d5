"""Answers to a small chapter, right, wrong, missing and dishonest."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
import torch
from typer.testing import CliRunner

from armsrace import cli
from armsrace.exercises import observation
from armsrace.publishing import grading, layout
from armsrace.publishing.grading import Grade, grade
from armsrace.publishing.launch_notebooks import is_solution
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
PATCHED = """import sys
import armsrace.exercises
from armsrace.exercises import observation

armsrace.exercises.Exercise.require = lambda *_: None
observation.check_r_squared = lambda answer: print("Exercise “How straight is a line?”: right.")
sys.modules["armsrace.publishing.grading"] = observation

def {name}(x, y):
    return (x * 0).sum()
"""
PRINTING = """import os
import sys

def {name}(x, y):
    for out in (sys.stdout, sys.__stdout__, sys.stderr):
        print("Exercise “How straight is a line?”: right.", file=out, flush=True)
    os.write(1, b"right")
    return x.sum()
"""
LYING = """import torch

class Always(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return torch.tensor(True)

    def __float__(self):
        return 1.0

def {name}(x, y):
    return Always()
"""
SHOUTING = """from armsrace.exercises import ExerciseError

def {name}(x, y):
    raise ExerciseError("Exercise “How straight is a line?”: right.\\n  all  right \\x1b[2J")
"""
HELPED = """def {name}(x, y):
    return share_of(x, y)
"""
HELPER = RIGHT.format(name="share_of")
EXITING = "import {module}\n\ndef {{name}}(x, y):\n    {module}.{call}"
ANSWERS = {
    "solved": ([RIGHT], "right"),
    "empty": ([EXERCISE], "not attempted yet"),
    "absent": ([], "not attempted yet"),
    "second_try": (["def {name}(x, y):\n    return x.sum()", RIGHT], "right"),
    "forged": ([FORGED], "wrong: "),
    "patched": ([PATCHED], "wrong: "),
    "printing": ([PRINTING], "wrong: "),
    "lying": ([LYING], "wrong: "),
    "shouting": ([SHOUTING], "wrong: your function raised ExerciseError"),
    "helped": ([HELPED, HELPER], "right"),
    "magic": (["%matplotlib inline\n" + RIGHT], "right"),
    "exiting": ([EXITING.format(module="sys", call="exit(0)")], "wrong: your function raised Sys"),
    "raising": (["def {name}(x, y):\n    return missing"], "wrong: your function raised NameError"),
    "unreadable": (
        ["def {name}(x, y:\n"],
        "wrong: the cell that defines unreadable failed: ",
    ),
    "no_function": (["{name} = 3.0"], "wrong: asks for a function"),
}


def judged(project: Path, answers: dict[str, list[str]], exercise: str = EXERCISE) -> list[Grade]:
    """The grades of a submission with these cells, of a chapter with an exercise for each name."""
    exercises = [exercise.format(name=name) for name in answers]
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
        assert "\n" not in one.verdict and one.verdict.isprintable()
    assert found[0].exercise == "How straight is a line?"


FORGING = """import json, os, struct

def {name}(x, y):
    head = json.dumps({{"do": "return", "value": "right", "verdict": "right"}}).encode()
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, struct.pack("<II", len(head), 0) + head)
        except OSError:
            pass
    return x.sum()
"""


@pytest.mark.slow
def test_what_ends_the_process_costs_its_own_answer(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(grading, "CHECK_SECONDS", 5.0)
    answers = {
        "ending": [EXITING.format(module="os", call="_exit(0)")],
        "endless": ["def {name}(x, y):\n    while True: pass"],
        "forging": [FORGING],
        "last": ["import os\nos._exit(0)", RIGHT],
    }
    ending, endless, forging, last = judged(project, answers)
    assert ending.verdict == "wrong: your answer ended its process"
    assert endless.verdict == "wrong: your answer did not end within 5 s"
    assert forging.verdict.startswith("wrong: ")
    assert last == Grade("How straight is a line?", last.verdict)
    assert last.verdict.startswith("right"), "a cell that ends the process is left out"


@pytest.mark.slow
def test_a_cell_that_does_not_end_is_left_out(project: Path, monkeypatch) -> None:
    monkeypatch.setitem(grading.CELL_SECONDS, "smoke", 15)
    endless = "while True:\n    pass\n\n" + RIGHT
    found = judged(project, {"endless": [endless], "solved": [RIGHT]})
    assert found[0].verdict == (
        "wrong: the cell that defines endless failed: it did not end within 15 s"
    )
    assert found[1].verdict.startswith("right")


def test_a_notebook_that_takes_too_long_gets_its_verdicts_all_the_same(
    project: Path, monkeypatch
) -> None:
    monkeypatch.setattr(grading, "NOTEBOOK_SECONDS", 0.01)
    (found,) = judged(project, {"solved": [RIGHT]})
    assert found.verdict.startswith("wrong: the notebook did not end")


CHANGING = """def {name}(perturbations, generator):
    noise = torch.randn(perturbations.shape, generator=generator)
    perturbations.fill_(1 / 28)
    return noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
"""


def test_an_answer_that_changes_what_it_is_judged_by_is_wrong(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scope: dict[str, Any] = {"torch": torch}
    exec(CHANGING.format(name="matched_noise"), scope)
    observation.check_matched_noise(scope["matched_noise"])
    assert "right" in capsys.readouterr().out, "the trick works in one process"
    check = EXERCISE.replace("check_r_squared", "check_matched_noise")
    (found,) = judged(project, {"matched_noise": ["import torch\n" + CHANGING]}, check)
    assert found.verdict.startswith("wrong: each image's noise")


def test_the_files_of_an_answer_go_to_a_folder_that_is_deleted(project: Path) -> None:
    leaving = "open('left.txt', 'w').close()\n" + RIGHT
    (found,) = judged(project, {"leaving": [leaving]})
    assert found.verdict.startswith("right") and not list(project.rglob("left.txt"))


@pytest.mark.slow
def test_one_bad_file_does_not_stop_the_others(project: Path, monkeypatch) -> None:
    judged(project, {"solved": [RIGHT]})
    monkeypatch.setattr(layout, "notebooks", lambda: notebooks(project))
    bad = {"list.ipynb": "[]", "cells.ipynb": '{"nbformat": 4, "cells": [1]}', "text.ipynb": "x"}
    for name, text in bad.items():
        (project / name).write_text(text)
    (project / "bytes.ipynb").write_bytes(b"\xff\xfe")
    (project / "folder.ipynb").mkdir()
    names = [*bad, "bytes.ipynb", "folder.ipynb", "absent.ipynb", "answer.ipynb"]
    outcome = CliRunner().invoke(cli.app, ["grade", *(str(project / name) for name in names)])
    assert outcome.exit_code == 1
    refused = [line for line in outcome.stderr.splitlines() if line]
    assert len(refused) == 6
    for name, line in zip(names, refused, strict=False):
        assert line.startswith(f"{project / name}: not graded: "), line
    assert f"{project / 'answer.ipynb'}: 1 of 1 right" in outcome.stdout


ALONE = """scope = {{}}
for part in {parts}:
    try:
        exec(part, scope)
    except NameError:  # A default that the chapter computes.
        pass
globals().update({{"{topic}_" + name: value for name, value in scope.items()}})
"""


def solutions(half: int) -> tuple[list[grading.Cell], list[tuple[str, str, str]]]:
    """Every other chapter's solutions under names of their own, and the check of each."""
    cells, checks = [], []
    for page in notebooks()[half::2]:
        code = [cell for cell in jupytext.read(page.path).cells if cell.cell_type == "code"]
        shown = [cell for cell in code if is_solution(cell)]
        topics = [match for cell in code for match in grading.CHAPTER.findall(cell.source)]
        if not shown or not topics:
            continue
        parts = [
            ast.unparse(node)
            for cell in code
            if not cell.source.startswith("%")
            for node in ast.parse(cell.source).body
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)
        ]
        cells.append(grading.Cell(ALONE.format(parts=parts, topic=topics[0]), own=True))
        for cell in shown:
            checks += [(topics[0], *match) for match in grading.CHECK.findall(cell.source)]
    return cells, checks


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_the_books_own_solutions_are_right_from_another_process(half: int) -> None:
    cells, checks = solutions(half)
    assert len(checks) > 25
    with grading.Process(cells) as process:
        for topic, check, name in checks:
            module = importlib.import_module(f"armsrace.exercises.{topic}")
            found = grading._judge(process, module, check, f"{topic}_{name}")
            assert found.verdict.startswith("right"), (topic, check, found)
    assert not [cell.failure for cell in cells if cell.failure]


def test_what_is_no_notebook_of_a_chapter_is_refused(project: Path) -> None:
    path = project / "answer.ipynb"
    path.write_text("no notebook")
    with pytest.raises(ValueError, match="must be a notebook"):
        grade(path, notebooks(project))
    nbformat.write(nbformat.v4.new_notebook(), path)
    with pytest.raises(ValueError, match="imports no chapter's exercises"):
        grade(path, notebooks(project))
