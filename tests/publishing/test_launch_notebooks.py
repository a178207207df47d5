from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from pybtex.database import parse_file

from armsrace.figures.interactive import BUILD_FLAG
from armsrace.publishing import render
from armsrace.publishing.execution import execute_chapters
from armsrace.publishing.launch_notebooks import plain, write_all
from armsrace.publishing.layout import Layout, notebooks, numbering
from armsrace.publishing.repository import VARIABLE
from armsrace.resources import CLONE
from tests.publishing.small_book import chapter

REFERENCES = parse_file(str(CLONE / "book" / "references.bib"))
CHAPTERS = {"fgsm": (3, "chapters/03_fgsm"), "ledger": (23, "book/ledger")}


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("see {cite:p}`goodfellow2015`", "see (Goodfellow et al., 2015)"),
        ("{cite:t}`carlini2017` show", "Carlini and Wagner (2017) show"),
        ("{cite:p}`carlini2017,madry2018`", "(Carlini and Wagner, 2017; Madry et al., 2018)"),
        ("by {eq}`eq-step` and {ref}`the table <tab-one>`", "by eq-step and the table"),
        ("{numref}`Chapter {number} <fgsm>` has", "[Chapter 3](03_fgsm.md) has"),
        ("the {ref}`ledger <ledger>`", "the [ledger](../book/ledger.md)"),
        ("(a-label)=\n## Title", "## Title"),
        ("{glue:text}`share` of {glue:text}`unknown`", "8.0 % of …"),
        ("$x$ and {math}`y`", "$x$ and $y$"),
        ("```{math}\n:label: eq-one\nx = 1\n```", "$$\nx = 1\n$$"),
        ("```python\nx = {}\n:a: b\n```", "```python\nx = {}\n:a: b\n```"),
        (":::{note}\nMind.\n:::", "> **Note**\n>\n> Mind.\n"),
        (":::{admonition} Units\n:class: tip\nPixels.\n:::", "> **Units**\n>\n> Pixels.\n"),
        (
            "````{dropdown} Solution\n```python\nx\n```\n````",
            "> **Solution**\n>\n> ```python\n> x\n> ```\n",
        ),
    ],
)
def test_myst_becomes_plain_markdown(myst: str, markdown: str) -> None:
    assert plain(myst, REFERENCES, CHAPTERS, {"share": "8.0 %"}) == markdown


def test_launch_notebook_installs_the_package_and_has_no_outputs(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "chapters/01_one.md").write_text(chapter("1 + 1", prose="By {cite:t}`madry2018`."))
    (project / "book/references.bib").write_text((CLONE / "book/references.bib").read_text())
    monkeypatch.setenv(VARIABLE, "git@example.org:a/b.git")
    layout = Layout("reader", project)
    write_all(notebooks(project), layout)
    notebook = nbformat.read(layout.launch / "01_one.ipynb", 4)
    nbformat.validate(notebook)
    assert "By Madry et al. (2018)." in notebook.cells[0].source
    assert "git+https://example.org/a/b" in notebook.cells[1].source
    assert all(not cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
def test_sentences_have_the_numbers_of_the_build(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A glued number is in the prose of the launch notebook, and is no output of a slide."""
    monkeypatch.setenv(BUILD_FLAG, "1")
    cell = ":tags: [slide]\n\nfrom armsrace import figures\nfigures.glue(double=f'{2 * 1.5:.1f}')"
    page = chapter(cell, prose="Twice that is {glue:text}`double`.")
    (project / "chapters/01_one.md").write_text(page)
    (project / "book/references.bib").write_text("")
    layout, pages = Layout("reader", project), notebooks(project)
    execute_chapters(pages, layout)
    write_all(pages, layout)
    notebook = nbformat.read(layout.launch / "01_one.ipynb", 4)
    assert "Twice that is 3.0." in notebook.cells[0].source
    executed = nbformat.read(layout.notebooks / "01_one.ipynb", 4)
    glued = next(cell for cell in executed.cells if "figures.glue" in cell.source)
    assert glued.outputs and "figures" in "".join(render.code(glued)), "a slide shows the code"


def test_without_a_repository_the_notebook_says_what_to_do(project: Path) -> None:
    (project / "book/references.bib").write_text("")
    layout = Layout("reader", project)
    write_all(notebooks(project), layout)
    for folder in (layout.launch, layout.launch / "student"):
        setup = nbformat.read(folder / "01_one.ipynb", 4).cells[1].source
        assert "git+" not in setup and "http" not in setup
        exec(setup, {})  # the package is here
        with pytest.raises(ImportError, match=r"run `pip install .` in a clone"):
            exec(setup.replace('"armsrace")', '"armsrace_of_nobody")'), {})


def test_every_chapter_of_this_repository_becomes_a_launch_notebook(tmp_path: Path) -> None:
    for page in notebooks(CLONE):
        text = page.path.read_text(encoding="utf-8").split("---\n", 2)[2]
        text = plain(text, REFERENCES, numbering(CLONE), {})
        assert "{cite" not in text and "{numref}" not in text
        assert ":::" not in text
