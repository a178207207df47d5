"""For a class: pages and downloads without solutions until a date."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx

from armsrace.publishing.execution import write
from armsrace.publishing.launch_notebooks import SOLUTION, student


def until(app: Sphinx) -> str:
    """The day on which solutions appear, as it is written; nothing if they are not held back."""
    day = app.config.armsrace_solutions_from
    if not day:
        return ""
    found = date.fromisoformat(day)
    return f"{found:%B} {found.day}, {found.year}"


def hide(app: Sphinx, doctree: nodes.document) -> None:
    """Put a sentence in the place of each solution."""
    day = until(app)
    if not day:
        return
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") == "cell_code" and cell.get("prompt_show") == SOLUTION:
            note = nodes.paragraph("", f"A solution will be here on {day}.")
            note["classes"].append("ar-embargo")
            cell.replace_self(note)


def clean(app: Sphinx, error: Exception | None) -> None:
    """Take the solutions out of what is offered for download."""
    if error is not None or not until(app):
        return
    site = Path(app.outdir)
    shutil.rmtree(site / "_sources" / "chapters", ignore_errors=True)
    for path in (site / "notebooks").glob("*.ipynb"):
        write(student(nbformat.read(path, 4)), path)
