"""Notebooks for a class, made of every chapter of this repository without executing one."""

from __future__ import annotations

import ast
import re
import socket
from collections.abc import Iterable

import pytest
from nbformat import NotebookNode
from pybtex.database import parse_file

from armsrace.publishing.launch_notebooks import (
    FOLDING,
    instructor,
    is_solution,
    launchable,
    student,
)
from armsrace.publishing.layout import Notebook, notebooks
from armsrace.publishing.repository import Repository
from armsrace.resources import CLONE

REFERENCES = parse_file(str(CLONE / "book" / "references.bib"))
CHAPTERS = [page for page in notebooks(CLONE) if page.is_chapter]
CHECK = re.compile(r"^exercises\.check_\w+\((\w+)\)", re.MULTILINE)


@pytest.fixture(params=CHAPTERS, ids=lambda page: page.name)
def whole(request: pytest.FixtureRequest) -> NotebookNode:
    """The launch notebook of a chapter."""
    page: Notebook = request.param
    return launchable(page, REFERENCES, Repository("https://example.org/a/b"), {})


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def exercises(notebook: NotebookNode) -> list[str]:
    """Their titles, in order."""
    return re.findall(r"^### (.+)", text(notebook).partition("## Exercises")[2], re.MULTILINE)


def lines(cells: Iterable[NotebookNode]) -> set[str]:
    """The lines of some cells, without their indents."""
    return {line.strip() for cell in cells for line in cell.source.splitlines() if line.strip()}


def checked(notebook: NotebookNode) -> list[str]:
    """The names that are given to checks, in order."""
    return CHECK.findall(text(notebook))


def tree(cell: NotebookNode) -> ast.Module:
    return ast.parse(re.sub(r"^(\s*)%.*$", r"\1pass", cell.source, flags=re.MULTILINE))


def names(cell: NotebookNode, context: type[ast.expr_context]) -> set[str]:
    """The names that a cell binds (Store) or uses (Load)."""
    nodes = list(ast.walk(tree(cell)))
    found = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, context)}
    if context is ast.Store:
        found |= {n.arg for n in nodes if isinstance(n, ast.arg)}
        found |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        found |= {(n.asname or n.name).split(".")[0] for n in nodes if isinstance(n, ast.alias)}
    return found


def test_students_get_no_line_of_a_solution(whole: NotebookNode) -> None:
    shown = text(student(whole))
    assert "_solution" not in shown
    rest = lines(cell for cell in code(whole) if not is_solution(cell))
    own = lines(filter(is_solution, whole.cells)) - rest
    assert len(own) >= len(exercises(whole))
    assert own.isdisjoint(line.strip(" >`") for line in shown.splitlines())


def test_students_get_every_exercise_with_its_check(whole: NotebookNode) -> None:
    titles = exercises(whole)
    asked = checked(student(whole))
    assert len(titles) >= 3
    assert exercises(student(whole)) == titles
    assert len(asked) == len(titles)
    for cell in code(student(whole)):
        for name in CHECK.findall(cell.source):
            functions = [n for n in ast.walk(tree(cell)) if isinstance(n, ast.FunctionDef)]
            (empty,) = [function for function in functions if function.name == name]
            assert ast.unparse(empty.body[-1]) == "..."
            assert len(empty.body) == 2, f"{name} must hold its docstring and nothing else"


def test_students_notebook_needs_nothing_from_a_solution(whole: NotebookNode) -> None:
    lost = set().union(*(names(cell, ast.Store) for cell in code(whole) if is_solution(cell)))
    kept = code(student(whole))
    used = set().union(*(names(cell, ast.Load) for cell in kept))
    bound = set().union(*(names(cell, ast.Store) for cell in kept))
    assert (lost & used) - bound == set()


def test_instructors_get_all_of_it_unfolded(whole: NotebookNode) -> None:
    edition = instructor(whole)
    assert text(edition) == text(whole)
    solved = [name for name in checked(edition) if name.endswith("_solution")]
    assert len(solved) == len(exercises(whole))
    for cell in filter(is_solution, edition.cells):
        assert FOLDING.isdisjoint(cell.metadata.tags)
        assert "jupyter" not in cell.metadata
    assert all(FOLDING & {*cell.metadata.tags} for cell in filter(is_solution, whole.cells))


def test_checks_need_no_network(whole: NotebookNode, monkeypatch, capsys) -> None:
    def refuse(*_: object) -> None:
        raise OSError("a check asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    edition = student(whole)
    (line,) = set(re.findall(r"^from armsrace\.exercises import .*$", text(edition), re.MULTILINE))
    cells = [cell.source for cell in code(edition) if CHECK.search(cell.source)]
    exec("\n".join([line, *cells]), {})  # the notebook's own code
    out = capsys.readouterr().out
    asked = exercises(edition)
    assert [name for name in asked if f"Exercise “{name}”: not attempted yet" not in out] == []
