"""Notebooks without outputs, to be run in Colab, Binder, JupyterHub or JupyterLab.

Each chapter has three editions: the whole one, the students' without the solutions, and the
instructor's with the solutions unfolded.
"""

from __future__ import annotations

import copy
import re
import shutil
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from pybtex.database import BibliographyData, Entry, parse_file

from armsrace.figures.interactive import GLUED
from armsrace.publishing.execution import write
from armsrace.publishing.layout import Layout, Notebook, numbering
from armsrace.publishing.render import is_glued
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
SOLUTION = "Show a solution"
NUMBER = re.compile(r"\{glue:text\}`(\w+)`")
UNKNOWN = "…"
"""Stands in the prose for a number of a page that was not executed."""
REFERENCE = re.compile(r"\{(?:num)?ref\}`([^`<]+?)\s*<(\w+)>`")
FOLDING = {"hide-input", "hide-cell"}


def write_all(pages: Sequence[Notebook], layout: Layout, *, solutions: bool = True) -> None:
    """Write the launch notebook of each chapter, and its editions for a class.

    Without solutions there is no instructor's edition, and the whole one is the students'.
    """
    if not solutions:
        shutil.rmtree(layout.launch / "instructor", ignore_errors=True)
    references = parse_file(str(layout.root / "book" / "references.bib"))
    repository = layout.repository
    for page in pages:
        if page.is_chapter:
            executed = layout.notebooks / f"{page.name}.ipynb"
            numbers = glued(nbformat.read(executed, 4)) if executed.is_file() else {}
            notebook = launchable(page, references, repository, numbers)
            notebook = notebook if solutions else student(notebook)
            write(notebook, layout.launch / f"{page.name}.ipynb")
            for folder, edition in EDITIONS.items():
                if solutions or edition is student:
                    write(edition(notebook), layout.launch / folder / f"{page.name}.ipynb")


def launchable(
    page: Notebook,
    references: BibliographyData,
    repository: Repository | None,
    numbers: Mapping[str, str],
) -> nbformat.NotebookNode:
    """The notebook with a cell that installs the package, its prose in Jupyter's Markdown.

    Args:
        page: the chapter.
        references: the entries that the page cites.
        repository: where the package is. Without it the cell says how to install the package.
        numbers: those of the sentences, as the last build computed them.
    """
    notebook = jupytext.read(page.path)
    chapters = numbering(page.root)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, references, chapters, numbers)
    setup = SETUP.format(repository=repository.url) if repository else WITHOUT
    notebook.cells.insert(1, nbformat.v4.new_code_cell(setup))
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index}"
    return notebook


def glued(executed: NotebookNode) -> dict[str, str]:
    """The numbers that an executed notebook has for its sentences, by name; see figures.glue."""
    outputs = [
        output for cell in executed.cells for output in filter(is_glued, cell.get("outputs", ()))
    ]
    return {
        output.metadata.scrapbook.name: literal_eval(output.data[f"{GLUED}text/plain"])
        for output in outputs
    }


def plain(
    text: str,
    references: BibliographyData,
    chapters: Mapping[str, tuple[int, str]],
    numbers: Mapping[str, str],
) -> str:
    """MyST as plain Markdown: directives become quotes, roles text; mathematics stays.

    Args:
        text: the prose of a page in the folder `chapters`.
        references: the entries that it cites.
        chapters: {topic: (number, entry)}; references to these become links.
        numbers: those of the sentences, by name.
    """
    text = NUMBER.sub(lambda found: numbers.get(found[1], UNKNOWN), text)
    text = re.sub(r"^\([\w:-]+\)=\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{cite(?::([pt]))?\}`([^`]+)`", lambda m: _cited(m, references), text)
    text = REFERENCE.sub(lambda found: _referred(found, chapters), text)
    text = re.sub(r"\{math\}`([^`]+)`", r"$\1$", text)
    text = re.sub(r"\{[\w:-]+\}`([^`<]+?)\s*(?:<[^`>]+>)?`", r"\1", text)
    return "\n".join(_unfenced(text.splitlines()))


def _unfenced(lines: Sequence[str]) -> list[str]:
    """Turn directives into quotes with a title, and `math` into $$; code stays."""
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


def _referred(found: re.Match[str], chapters: Mapping[str, tuple[int, str]]) -> str:
    """A reference to a chapter as a link with its number; the words alone of one to a section."""
    words, topic = found.groups()
    if topic not in chapters:
        return words
    number, entry = chapters[topic]
    file = Path(entry).name if entry.startswith("chapters/") else f"../{entry}"
    return f"[{words.replace('{number}', str(number))}]({file}.md)"


def _cited(found: re.Match[str], references: BibliographyData) -> str:
    """A citation as authors and year."""
    kind, keys = found.groups()
    texts = [_author_year(references.entries[key.strip()]) for key in keys.split(",")]
    joined = "; ".join(f"{authors} ({year})" if kind == "t" else f"{authors}, {year}"
                       for authors, year in texts)  # fmt: skip
    return joined if kind == "t" else f"({joined})"


def _author_year(entry: Entry) -> tuple[str, str]:
    """The authors' last names and the year of an entry."""
    names = [" ".join(person.last_names) for person in entry.persons["author"]]
    shown = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
    return shown, entry.fields["year"]


def is_solution(cell: NotebookNode) -> bool:
    """Whether a cell is folded under "Show a solution"."""
    return cell.metadata.get("mystnb", {}).get("code_prompt_show") == SOLUTION


def student(notebook: NotebookNode) -> NotebookNode:
    """The notebook without its solutions. Exercises keep their empty cells and their checks."""
    edition = copy.deepcopy(notebook)
    edition.cells = [cell for cell in edition.cells if not is_solution(cell)]
    return edition


def instructor(notebook: NotebookNode) -> NotebookNode:
    """The whole notebook with its solutions unfolded."""
    edition = copy.deepcopy(notebook)
    for cell in filter(is_solution, edition.cells):
        cell.metadata.pop("jupyter", None)
        cell.metadata.tags = [tag for tag in cell.metadata.tags if tag not in FOLDING]
    return edition


EDITIONS: dict[str, Callable[[NotebookNode], NotebookNode]] = {
    "student": student,
    "instructor": instructor,
}
