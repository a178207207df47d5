"""Slides of a chapter, from the cells tagged `slide`: one page of HTML that needs no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jinja2 import Environment
from nbformat import NotebookNode
from pybtex.database import BibliographyData, parse_file

from armsrace.publishing import vendor
from armsrace.publishing.launch import plain
from armsrace.publishing.layout import Layout, Notebook
from armsrace.publishing.rendering import code, inline, markdown
from armsrace.resources import replacing

TAG = "slide"
LINK = re.compile(r"\]\(([\w./-]+)\.md(#[\w-]*)?\)")
HEADING = re.compile(r"^#{1,4} +(.+)$", re.MULTILINE)
TEMPLATE = Path(__file__).with_name("deck.html")
MATHJAX = f"vendor/{Path(vendor.MEMBER).name}"
CDN = f"https://cdn.jsdelivr.net/npm/{vendor.PACKAGE}/es5/{Path(vendor.MEMBER).name}"


@dataclass(frozen=True)
class Slide:
    """A heading and what stands below it, both HTML."""

    heading: str
    body: str


def write_all(pages: Sequence[Notebook], layout: Layout) -> list[Path]:
    """Write the deck of each executed chapter that has slides; return the files.

    MathJax is put beside them by npm; without npm they load it from a public CDN.
    """
    references = parse_file(str(layout.root / "book" / "references.bib"))
    mathjax = MATHJAX if vendor.mathjax(layout.slides) else CDN
    decks = []
    for page in pages:
        executed = layout.notebooks / f"{page.name}.ipynb"
        if not page.is_chapter or not executed.is_file():
            continue
        found = slides(nbformat.read(executed, 4), references)
        if len(found) > 1:
            with replacing(layout.slides / f"{page.name}.html") as temporary:
                temporary.write_text(deck(found, mathjax), encoding="utf-8")
            decks.append(layout.slides / f"{page.name}.html")
    return decks


def slides(notebook: NotebookNode, references: BibliographyData) -> list[Slide]:
    """The chapter's title and first paragraph, then a slide for each tagged cell.

    A slide's heading is the section's. Tagged prose is shown as it is; of tagged code its outputs
    with their caption, and the code itself where it puts nothing out.
    """
    title, _, opening = _prose(notebook.cells[0], references).partition("\n\n")
    found = [Slide(inline(title.lstrip("# ")), markdown(opening.split("\n\n")[0]))]
    heading = inline(HEADING.findall(f"{title}\n\n{opening}")[-1])
    for cell in notebook.cells[1:]:
        prose = _prose(cell, references) if cell.cell_type == "markdown" else ""
        if own := HEADING.findall(prose):
            heading = inline(own[-1])
        if is_slide(cell):
            body = markdown(HEADING.sub("", prose)) if prose else "".join(code(cell))
            found.append(Slide(heading, body))
    return found


def _prose(cell: NotebookNode, references: BibliographyData) -> str:
    """A cell's words, their links leading from the decks' folder to the pages of the site."""
    return LINK.sub(r"](../chapters/\1.html\2)", plain(cell.source, references))


def deck(found: Iterable[Slide], mathjax: str) -> str:
    """The page: sections that snap into view, moved by scrolling, keys, or touch."""
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(slides=list(found), mathjax=mathjax)


def is_slide(cell: NotebookNode) -> bool:
    """Whether a cell is tagged `slide`, or its metadata name it one as nbconvert reads them."""
    kind = cell.metadata.get("slideshow", {}).get("slide_type")
    return TAG in cell.metadata.get("tags", ()) or kind in ("slide", "subslide")
