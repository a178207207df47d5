"""Notebooks without outputs, to be run in Colab, Binder, JupyterHub or JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jupytext
import nbformat
from pybtex.database import BibliographyData, Entry, parse_file

from armsrace.publishing.editions import EDITIONS
from armsrace.publishing.grafting import write
from armsrace.publishing.layout import Layout, Notebook
from armsrace.publishing.repository import Repository

SETUP = """\
# Outside a clone, such as in Colab, the package comes first; that takes a minute.
from importlib.util import find_spec

if find_spec("armsrace") is None:
    %pip install -q "armsrace[widgets] @ git+{repository}"
"""
WITHOUT = """\
# This notebook belongs to a course whose package it needs.
from importlib.util import find_spec

if find_spec("armsrace") is None:
    raise ImportError("armsrace is missing: run `pip install .` in a clone of the course")
"""
FENCE = re.compile(r"^(`{3,}|:{3,})\s*(?:\{([\w:-]+)\}\s*(.*)|(\w*))$")
OPTION = re.compile(r"^:[\w-]+:")


def write_all(pages: Sequence[Notebook], layout: Layout) -> None:
    """Write the launch notebook of each chapter, and its editions for a class."""
    references = parse_file(str(layout.root / "book" / "references.bib"))
    repository = layout.repository
    for page in pages:
        if page.is_chapter:
            notebook = launchable(page, references, repository)
            write(notebook, layout.launch / f"{page.name}.ipynb")
            for folder, edition in EDITIONS.items():
                write(edition(notebook), layout.launch / folder / f"{page.name}.ipynb")


def launchable(
    page: Notebook, references: BibliographyData, repository: Repository | None
) -> nbformat.NotebookNode:
    """The notebook with a cell that installs the package, its prose in Markdown that Jupyter knows.

    references: what the citations of the page refer to; repository: where the package is; without
    one the cell says what to do where it is missing.
    """
    notebook = jupytext.read(page.path)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, references)
    setup = SETUP.format(repository=repository.url) if repository else WITHOUT
    notebook.cells.insert(1, nbformat.v4.new_code_cell(setup))
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index}"
    return notebook


def plain(text: str, references: BibliographyData) -> str:
    """MyST as plain Markdown: directives as quotes, roles as text; mathematics stays."""
    text = re.sub(r"^\([\w:-]+\)=\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{cite(?::([pt]))?\}`([^`]+)`", lambda m: _cited(m, references), text)
    text = re.sub(r"\{math\}`([^`]+)`", r"$\1$", text)
    text = re.sub(r"\{[\w:-]+\}`([^`<]+?)\s*(?:<[^`>]+>)?`", r"\1", text)
    return "\n".join(_unfenced(text.splitlines()))


def _unfenced(lines: Sequence[str]) -> list[str]:
    """Directives become quotes under their title, `math` becomes $$; code stays as it is."""
    out: list[str] = []
    open_fences: list[tuple[str, str]] = []
    for line in lines:
        fence = FENCE.match(line)
        inside = open_fences[-1] if open_fences else ("", "")
        quote = "> " * sum(kind == "quote" for _, kind in open_fences)
        if fence and fence.group(0) == inside[0]:
            open_fences.pop()
            out += {"math": [f"{quote}$$"], "code": [quote + line]}.get(inside[1], [""])
        elif fence and inside[1] != "code":
            marks, directive, title, _ = fence.groups()
            kind = {None: "code", "math": "math"}.get(directive, "quote")
            open_fences.append((marks, kind))
            heading = f"> **{title or directive.capitalize()}**" if kind == "quote" else ""
            shown = {"code": line, "math": "$$", "quote": heading}[kind]
            out += [quote + shown] + ([f"{quote}>"] if kind == "quote" else [])
        elif inside[1] != "code" and open_fences and OPTION.match(line):
            continue
        else:
            out.append(quote + line)
    return out


def _cited(found: re.Match[str], references: BibliographyData) -> str:
    """A citation as authors and year."""
    kind, keys = found.groups()
    texts = [_author_year(references.entries[key.strip()]) for key in keys.split(",")]
    joined = "; ".join(f"{authors} ({year})" if kind == "t" else f"{authors}, {year}"
                       for authors, year in texts)  # fmt: skip
    return joined if kind == "t" else f"({joined})"


def _author_year(entry: Entry) -> tuple[str, str]:
    names = [" ".join(person.last_names) for person in entry.persons["author"]]
    shown = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return shown, entry.fields["year"]
