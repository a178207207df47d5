"""The chapters as assignments of nbgrader: answers to fill in, and checks that give points.

nbgrader is not needed to write them. `nbgrader generate_assignment` makes the students' edition of
them, and `nbgrader autograde` runs the checks in the `smoke` profile.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from pybtex.database import parse_file

from armsrace.publishing.execution import write
from armsrace.publishing.grading import CHAPTER, CHECK, Task, tasks
from armsrace.publishing.launch_notebooks import glued, is_solution, launchable
from armsrace.publishing.layout import Layout, Notebook
from armsrace.resources import replacing

SCHEMA = 3
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
SMOKE = """\
# Graded on a few images; everyone else keeps the profile above.
import os

if "NBGRADER_EXECUTION" in os.environ:
    profile = "smoke"
"""
QUESTION = (
    "**In two sentences:** why is your answer right, and what would have shown that it is wrong?"
)
MODEL_ANSWER = (
    "What the check says of a right answer, in your own words, and a case in which it fails."
)
CONFIG = '''\
"""Of nbgrader, for the chapters of The Arms Race. Made by `armsrace nbgrader`."""

c = get_config()

# An answer's own `...` marks its place. Without an answer its check raises an error.
c.ClearSolutions.code_stub = {"python": "# Your answer takes the place of the ... above."}
c.ClearSolutions.text_stub = "Your two sentences take the place of these."
c.Execute.timeout = 900
'''


def write_course(folder: Path, pages: Sequence[Notebook], layout: Layout) -> list[Path]:
    """Write a course of nbgrader: `nbgrader_config.py`, and `source/CHAPTER/CHAPTER.ipynb`.

    Args:
        folder: of the course. A configuration that is there already is kept.
        pages: the chapters.
        layout: where the last build left the numbers of their sentences.

    Returns:
        The assignments, with solutions: only instructors may read them.
    """
    references = parse_file(str(layout.root / "book" / "references.bib"))
    config = folder / "nbgrader_config.py"
    if not config.exists():
        with replacing(config) as temporary:
            temporary.write_text(CONFIG, encoding="utf-8")
    made = []
    for page in pages:
        executed = layout.notebooks / f"{page.name}.ipynb"
        numbers = glued(nbformat.read(executed, 4)) if executed.is_file() else {}
        path = folder / "source" / page.name / f"{page.name}.ipynb"
        write(assignment(launchable(page, references, layout.repository, numbers)), path)
        made.append(path)
    return made


def assignment(notebook: NotebookNode) -> NotebookNode:
    """A chapter's launch notebook as nbgrader's source of an assignment.

    Each exercise becomes a cell for the answer, with the solution between nbgrader's marks; a
    locked cell with the check, worth one point for each star; and a cell for two sentences, which
    is worth as much and graded by hand.
    """
    edition = copy.deepcopy(notebook)
    edition.cells = []
    module, task = "", Task("", 1, None, False)
    answer: NotebookNode | None = None
    asked: dict[str, str] = {}
    for cell in copy.deepcopy(notebook.cells):
        if cell.cell_type == "markdown":
            task = (tasks(cell.source) or [task])[-1]
            edition.cells.append(cell)
            continue
        module = (CHAPTER.findall(cell.source) or [module])[-1]
        checks = CHECK.findall(cell.source)
        if is_solution(cell):
            if answer is not None:
                answer.source += f"\n\n{BEGIN}\n{_solution(cell.source, asked)}\n{END}"
                answer = None
            continue
        if not checks:
            edition.cells.append(cell)
            if "parameters" in cell.metadata.get("tags", ()):
                edition.cells.append(_locked(SMOKE, "smoke"))
            continue
        asked = dict(checks)
        source = CHAPTER.sub("", CHECK.sub("", cell.source)).strip()
        answer = new_code_cell(source, metadata=_metadata(f"answer_{checks[0][1]}", solution=True))
        line = f"from armsrace.exercises import {module} as exercises"
        calls = "\n".join(f"exercises.{check}({name})" for check, name in checks)
        check = _locked(f"{line}\n\n{calls}", checks[0][0], points=task.stars)
        why = new_markdown_cell(
            MODEL_ANSWER,
            metadata=_metadata(f"why_{checks[0][1]}", solution=True, points=task.stars),
        )
        edition.cells += [answer, check, new_markdown_cell(QUESTION), why]
    for index, cell in enumerate(edition.cells):
        cell["id"] = f"cell-{index}"
    return edition


def _solution(source: str, asked: Mapping[str, str]) -> str:
    """A solution's code without its check, under the names that the answers have.

    Args:
        source: of the cell.
        asked: the name of the answer that each check is called with.
    """
    given = [f"{asked[check]} = {name}" for check, name in CHECK.findall(source) if check in asked]
    code = CHECK.sub("", source).strip()
    return re.sub(r"\n{4,}", "\n\n\n", "\n\n".join([code, "\n".join(given)]))


def _locked(source: str, name: str, *, points: int = 0) -> NotebookNode:
    """A code cell that students do not change, worth some points, or none."""
    return new_code_cell(source, metadata=_metadata(name, locked=True, points=points))


def _metadata(
    name: str, *, solution: bool = False, locked: bool = False, points: int = 0
) -> dict[str, Any]:
    """What nbgrader wants to know of a cell."""
    found = {
        "schema_version": SCHEMA, "grade": points > 0, "grade_id": name, "locked": locked,
        "solution": solution, "task": False,
    }  # fmt: skip
    return {"nbgrader": found | ({"points": points} if points else {})}
