"""A chapter's notebook for a class: the students' without the solutions, the instructor's with."""

from __future__ import annotations

import copy
from collections.abc import Callable

from nbformat import NotebookNode

SOLUTION = "Show a solution"
FOLDING = {"hide-input", "hide-cell"}


def is_solution(cell: NotebookNode) -> bool:
    """Whether a cell is folded under the words by which chapters offer a solution."""
    return cell.metadata.get("mystnb", {}).get("code_prompt_show") == SOLUTION


def student(notebook: NotebookNode) -> NotebookNode:
    """The notebook without its solutions; exercises keep their empty cells and their checks."""
    edition = copy.deepcopy(notebook)
    edition.cells = [cell for cell in edition.cells if not is_solution(cell)]
    return edition


def instructor(notebook: NotebookNode) -> NotebookNode:
    """The whole notebook, its solutions unfolded."""
    edition = copy.deepcopy(notebook)
    for cell in filter(is_solution, edition.cells):
        cell.metadata.pop("jupyter", None)
        cell.metadata.tags = [tag for tag in cell.metadata.tags if tag not in FOLDING]
    return edition


EDITIONS: dict[str, Callable[[NotebookNode], NotebookNode]] = {
    "student": student,
    "instructor": instructor,
}
