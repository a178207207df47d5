"""Grade students' notebooks by the checks of this installation, and plan lessons by the timetable.

Both read chapters as students get them: exercises with empty cells and their checks.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from armsrace.publishing.engine import CELL_SECONDS, transport
from armsrace.publishing.execution import Record
from armsrace.publishing.launch_notebooks import student
from armsrace.publishing.layout import Layout, Notebook, notebooks
from armsrace.publishing.slides import is_slide
from armsrace.resources import CLONE

CHAPTER = re.compile(r"^from armsrace\.exercises import (\w+) as exercises$", re.MULTILINE)
CHECK = re.compile(r"^exercises\.check_\w+\((\w+)\)$", re.MULTILINE)
SAID = re.compile(r"Exercise “(.+?)”:? ?(.*)", re.DOTALL)
TITLE = re.compile(r"^# +(.+)$", re.MULTILINE)
PROFILE = "smoke"


@dataclass(frozen=True)
class Grade:
    """The result of one exercise's check; the verdict begins with `right` if the answer is."""

    exercise: str
    verdict: str


def grade(submission: Path, chapters: list[Notebook]) -> list[Grade]:
    """Run the chapter with the submitted answers and return the results of its checks, in order.

    Raises:
        ValueError: the file is not a notebook of one of these chapters.
    """
    try:
        submitted = nbformat.read(submission, 4)
        topic = _topic(submitted)
    except (nbformat.reader.NotJSONError, ValueError) as error:
        raise ValueError(f"{submission} must be a notebook of a chapter: {error}") from error
    line = f"from armsrace.exercises import {topic} as exercises"
    pages = [page for page in chapters if line in page.path.read_text().splitlines()]
    if not pages:
        raise ValueError(f"{submission} is of {topic}, a chapter that this course does not have")
    notebook = assemble(submitted, jupytext.read(pages[0].path))
    try:
        with TemporaryDirectory(prefix="ar-") as sockets:
            NotebookClient(
                notebook, timeout=CELL_SECONDS[PROFILE], interrupt_on_timeout=True,
                allow_errors=True, kernel_name="python3", config=transport(sockets),
                resources={"metadata": {"path": str(pages[0].path.parent)}},
            ).execute()  # fmt: skip
    except DeadKernelError:
        return [Grade("all", "wrong: an answer ended the kernel")]
    return [_said(cell) for cell in notebook.cells if "exercise" in cell.metadata]


def assemble(submission: NotebookNode, chapter: NotebookNode) -> NotebookNode:
    """The chapter with the submitted answers in its exercises' cells, each check in its own cell.

    From the submission only the last cell that defines an exercise's function is taken, without its
    checks: a submission cannot change the chapter's checks.
    """
    notebook = student(chapter)
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        found = CHECK.search(cell.source) if cell.cell_type == "code" else None
        if found is None:
            cells.append(cell)
            if "parameters" in cell.metadata.get("tags", ()):
                cells.append(nbformat.v4.new_code_cell(f'profile = "{PROFILE}"'))
            continue
        answer = _defining(submission, found.group(1)) or cell.source
        module = f"from armsrace.exercises import {_topic(chapter)} as exercises\n"
        check = nbformat.v4.new_code_cell(module + found.group(0))
        check.metadata["exercise"] = found.group(1)
        cells += [nbformat.v4.new_code_cell(CHECK.sub("", answer)), check]
    notebook.cells = cells
    return notebook


def _topic(notebook: NotebookNode) -> str:
    """The name of the module with the chapter's exercises."""
    for cell in notebook.cells:
        if found := CHAPTER.search(cell.source):
            return found.group(1)
    raise ValueError("it imports no chapter's exercises")


def _defining(notebook: NotebookNode, name: str) -> str | None:
    """The last code cell that defines the function, or seems to if it does not parse."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return next((source for source in reversed(sources) if _defines(source, name)), None)


def _defines(source: str, name: str) -> bool:
    """Whether code defines a function of this name."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return f"def {name}(" in source
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in body)


def _said(cell: NotebookNode) -> Grade:
    """The verdict in the outputs of a check's cell."""
    for output in cell.outputs:
        if found := SAID.search(output.get("text") or output.get("evalue") or ""):
            prefix = "wrong: " if output.output_type == "error" else ""
            return Grade(found.group(1), prefix + found.group(2).strip())
    raised = [output.evalue for output in cell.outputs if output.output_type == "error"]
    return Grade(cell.metadata["exercise"], f"wrong: {'; '.join(raised) or 'no answer'}")


def timetable(profile: str = "reader", root: Path = CLONE) -> list[dict[str, object]]:
    """One row per chapter: number, title, seconds of its last execution, exercises, slides.

    Args:
        profile: whose executions. The row says so if a chapter was not executed under it.
        root: the clone.

    Returns:
        The rows, in the book's order. Slides are counted without the title's.
    """
    layout = Layout(profile, root)
    rows: list[dict[str, object]] = []
    for page in notebooks(root):
        if not page.is_chapter:
            continue
        cells = student(jupytext.read(page.path)).cells
        record = Record.read(layout.records / f"{page.name}.json")
        title = TITLE.search(cells[0].source)
        rows.append(
            {
                "chapter": page.number,
                "title": title.group(1) if title else page.name,
                "executes in": f"{record.seconds:.0f} s" if record else "not executed here",
                "exercises": sum(len(CHECK.findall(cell.source)) for cell in cells),
                "slides": sum(map(is_slide, cells)),
            }
        )
    return rows
