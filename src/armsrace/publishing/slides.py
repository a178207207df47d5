"""Slides of a chapter, from the cells tagged `slide`: one page of HTML that needs no network."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jinja2 import Environment
from nbformat import NotebookNode
from pybtex.database import BibliographyData, parse_file

from armsrace.publishing import mathematics
from armsrace.publishing.launch_notebooks import glued, plain
from armsrace.publishing.layout import Layout, Notebook, numbering
from armsrace.publishing.render import BookError, code, inline, markdown
from armsrace.resources import replacing

TAG = "slide"
LINK = re.compile(r"\]\(([\w./-]+)\.md(#[\w-]*)?\)")
HEADING = re.compile(r"^#{1,4} +(.+)$", re.MULTILINE)
TEMPLATE = Path(__file__).with_name("deck.html")


@dataclass(frozen=True)
class Slide:
    """A heading and the content below it, both HTML."""

    heading: str
    body: str


def write_all(pages: Sequence[Notebook], layout: Layout) -> list[Path]:
    """Write the deck of each executed chapter that has slides; return the files.

    Raises BookError for a formula that cannot be read.
    """
    references = parse_file(str(layout.root / "book" / "references.bib"))
    chapters = numbering(layout.root)
    decks = []
    for page in pages:
        executed = layout.notebooks / f"{page.name}.ipynb"
        if not page.is_chapter or not executed.is_file():
            continue
        try:
            found = slides(nbformat.read(executed, 4), references, chapters)
        except mathematics.FormulaError as error:
            raise BookError(f"{page.label}: {error}") from error
        if len(found) > 1:
            with replacing(layout.slides / f"{page.name}.html") as temporary:
                temporary.write_text(deck(found), encoding="utf-8")
            decks.append(layout.slides / f"{page.name}.html")
    return decks


def slides(
    notebook: NotebookNode, references: BibliographyData, chapters: Mapping[str, tuple[int, str]]
) -> list[Slide]:
    """The chapter's title and first paragraph, then a slide for each tagged cell.

    A slide's heading is the section's. Tagged prose is shown as it is. Tagged code is shown as its
    outputs with their caption, or as the code itself if it has no outputs.
    """
    numbers = glued(notebook)

    def written(cell: NotebookNode) -> str:
        """A cell's prose; its links lead from the folder of the slides to the site's pages."""
        text = plain(cell.source, references, chapters, numbers)
        return LINK.sub(r"](../chapters/\1.html\2)", text)

    title, _, opening = written(notebook.cells[0]).partition("\n\n")
    found = [Slide(inline(title.lstrip("# ")), markdown(opening.split("\n\n")[0]))]
    heading = inline(HEADING.findall(f"{title}\n\n{opening}")[-1])
    for cell in notebook.cells[1:]:
        prose = written(cell) if cell.cell_type == "markdown" else ""
        if own := HEADING.findall(prose):
            heading = inline(own[-1])
        if is_slide(cell):
            body = markdown(HEADING.sub("", prose)) if prose else "".join(code(cell))
            found.append(Slide(heading, body))
    return found


def deck(found: Iterable[Slide]) -> str:
    """The page: sections that snap into view, moved by scrolling, keys, or touch."""
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(slides=list(found), math_style=_math_style())


def _math_style() -> str:
    """The style of formulas with their font inside, so that a deck is one file."""
    font = base64.b64encode(mathematics.FONT.read_bytes()).decode()
    style = mathematics.STYLE.read_text(encoding="utf-8")
    return style.replace(mathematics.FONT.name, f"data:font/woff2;base64,{font}")


def is_slide(cell: NotebookNode) -> bool:
    """Whether a cell is tagged `slide`, or is a slide in nbconvert's metadata."""
    kind = cell.metadata.get("slideshow", {}).get("slide_type")
    return TAG in cell.metadata.get("tags", ()) or kind in ("slide", "subslide")
