"""Judge students' notebooks by the checks of this installation."""

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

from armsrace.publishing.editions import student
from armsrace.publishing.engine import CELL_SECONDS, transport
from armsrace.publishing.layout import Notebook

CHAPTER = re.compile(r"^from armsrace\.exercises import chapter_(\d+) as exercises$", re.MULTILINE)
CHECK = re.compile(r"^exercises\.check_\w+\((\w+)\)$", re.MULTILINE)
SAID = re.compile(r"Exercise (\d+\.\d+):? ?(.*)", re.DOTALL)
PROFILE = "smoke"


@dataclass(frozen=True)
class Grade:
    """What the check of one exercise said; it begins with `right` where the answer is."""

    exercise: str
    verdict: str


def assemble(submission: NotebookNode, chapter: NotebookNode) -> NotebookNode:
    """The chapter with the submitted answers in its exercises' cells, each check in its own cell.

    Of the submission only the last cell that defines an exercise's function is taken, without its
    checks: what it does to them has no effect on the chapter's.
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
        module = f"from armsrace.exercises import chapter_{_number(chapter)} as exercises\n"
        check = nbformat.v4.new_code_cell(module + found.group(0))
        check.metadata["exercise"] = found.group(1)
        cells += [nbformat.v4.new_code_cell(CHECK.sub("", answer)), check]
    notebook.cells = cells
    return notebook


def grade(submission: Path, chapters: list[Notebook]) -> list[Grade]:
    """Run the chapter with the submitted answers and return what its checks say, in their order.

    Raises ValueError where the file is no notebook of one of these chapters.
    """
    try:
        submitted = nbformat.read(submission, 4)
        number = int(_number(submitted))
    except (nbformat.reader.NotJSONError, ValueError) as error:
        raise ValueError(f"{submission} must be a notebook of a chapter: {error}") from error
    pages = [page for page in chapters if page.number == number]
    if not pages:
        raise ValueError(f"{submission} is of chapter {number}, which this course does not have")
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


def _number(notebook: NotebookNode) -> str:
    """The chapter's number as its exercises' module has it."""
    for cell in notebook.cells:
        if found := CHAPTER.search(cell.source):
            return found.group(1)
    raise ValueError("it imports no chapter's exercises")


def _defining(notebook: NotebookNode, name: str) -> str | None:
    """The last code cell that defines the function, or does not parse and seems to."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return next((source for source in reversed(sources) if _defines(source, name)), None)


def _defines(source: str, name: str) -> bool:
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
