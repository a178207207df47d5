"""Slides of a small executed chapter."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import jupytext
import pytest

from armsrace.publishing import slides
from armsrace.publishing.layout import Layout, Notebook, notebooks
from armsrace.publishing.render import BookError
from armsrace.resources import CLONE
from tests.publishing.small_book import chapter, execute

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADU"
    "lEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FIGURE = f'''---
tags: [slide]
mystnb:
  image:
    alt: a "dot"
  figure:
    caption: One dot, $x = 1$.
---
import base64
from IPython.display import Image
Image(base64.b64decode("{PIXEL}"))'''
CELLS = (
    ":tags: [slide]\n\nprint('<shown>')",
    "print('never shown')",
    FIGURE,
    ":tags: [slide]\n\ndef ten_lines(x):\n    return x",
    "---\nslideshow: {slide_type: slide}\n---\nprint('by metadata')",
)
PROSE = """First paragraph by {cite:t}`madry2018`.

Second paragraph.

## A section

Left out.

+++ {"tags": ["slide"]}

The *step* is $a < b$, after [chapter 3](03_fgsm.md), and

$$ y = \\operatorname{sign}(x) $$

+++

Left out too."""


@pytest.fixture
def deck(project: Path) -> str:
    """The page of slides of a chapter that was executed."""
    (project / "book/references.bib").write_text((CLONE / "book/references.bib").read_text())
    (project / "chapters/01_one.md").write_text(chapter(*CELLS, prose=PROSE))
    execute(project)
    (path,) = slides.write_all(notebooks(project), Layout("reader", project))
    return path.read_text()


def test_each_tagged_cell_is_a_slide_under_its_section(deck: str) -> None:
    sections = re.findall(r"<section.*?</section>", deck, re.DOTALL)
    headings = [re.search(r"<h\d>(.*?)</h\d>", section).group(1) for section in sections]
    assert headings == ["A title"] + ["A section"] * 5
    opening, prose, printed, figure, code, metadata = sections
    assert "First paragraph by Madry et al. (2018)." in opening and "Second" not in opening
    assert "<em>step</em>" in prose and "<mi>a</mi><mo>&lt;</mo>" in prose
    wide = r'<div class="math block" tabindex="0">\s*<math display="block".*<mi>sign</mi>'
    assert re.search(wide, prose)
    assert "<pre>&lt;shown&gt;\n</pre>" in printed and "print(" not in printed
    assert 'alt="a &quot;dot&quot;"' in figure and "<mi>x</mi><mo>=</mo>" in figure
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', figure)
    assert base64.b64decode(picture) == base64.b64decode(PIXEL)
    assert "ten_lines" in code
    assert "by metadata" in metadata


def test_links_lead_from_the_decks_folder_to_the_chapters(deck: str) -> None:
    assert 'href="../chapters/03_fgsm.html"' in deck and ".md" not in deck


def test_untagged_cells_are_left_out(deck: str) -> None:
    assert "never shown" not in deck and "Left out" not in deck


def test_slides_are_one_file_and_ask_for_nothing(deck: str) -> None:
    assert "http" not in deck and 'src="data:' in deck
    assert re.findall(r'(?:src|href)="(?!data:|\.\./chapters/)([^"]+)"', deck) == []
    (font,) = re.findall(r'url\("([^"]+)"\)', deck)
    assert base64.b64decode(font.removeprefix("data:font/woff2;base64,")).startswith(b"wOF2")


def test_formula_that_cannot_be_read_is_named(project: Path) -> None:
    (project / "book/references.bib").write_text("")
    slide = '+++ {"tags": ["slide"]}\n\nThe $\\nosuch x$.\n\n+++'
    (project / "chapters/01_one.md").write_text(chapter(*CELLS[:1], prose=slide))
    execute(project)
    with pytest.raises(BookError, match=r"chapters/01_one.md: formula must be LaTeX.*nosuch"):
        slides.write_all(notebooks(project), Layout("reader", project))


def test_chapter_that_was_not_executed_has_no_slides(project: Path) -> None:
    (project / "book/references.bib").write_text("")
    assert slides.write_all(notebooks(project), Layout("reader", project)) == []


@pytest.mark.parametrize(
    "page", [page for page in notebooks(CLONE) if page.is_chapter], ids=lambda page: page.name
)
def test_every_chapter_has_slides_and_none_of_its_exercises_is_one(page: Notebook) -> None:
    cells = jupytext.read(page.path).cells
    exercises = [at for at, cell in enumerate(cells) if "## Exercises" in cell.source]
    tagged = [at for at, cell in enumerate(cells) if slides.is_slide(cell)]
    assert 8 <= len(tagged) <= 16
    assert not exercises or max(tagged) < exercises[0]
