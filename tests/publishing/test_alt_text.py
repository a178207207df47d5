"""Every figure of the book has alternative text and a caption; read from the text, nothing runs."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator

import jupytext
import pytest
from nbformat import NotebookNode

from armsrace import figures
from armsrace.publishing.layout import Notebook, notebooks
from armsrace.resources import CLONE

PAGES = notebooks(CLONE)
PLOTS = {
    name
    for name in figures.__all__
    if inspect.isfunction(thing := getattr(figures, name))
    and inspect.signature(thing).return_annotation in ("Plot", figures.Plot)
}
HIDDEN = {"remove-output", "remove-cell", "hide-output"}
IMAGES = re.compile(r"!\[(.*?)\]\(|<img\b([^>]*)>")


def code_cells(page: Notebook) -> list[NotebookNode]:
    """Those whose outputs the page shows."""
    cells = [cell for cell in jupytext.read(page.path).cells if cell.cell_type == "code"]
    return [cell for cell in cells if HIDDEN.isdisjoint(cell.metadata.get("tags", ()))]


def called(node: ast.AST) -> str:
    """The figures' function that a node calls, or nothing."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "figures":
            return node.func.attr
    return ""


def shown(source: str) -> Iterator[ast.expr]:
    """What a cell displays: its last expression, and the arguments of `display`."""
    body = ast.parse(source).body
    if body and isinstance(body[-1], ast.Expr):
        yield body[-1].value
    for node in ast.walk(ast.Module(body, [])):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "display"
        ):
            yield from node.args


def shows_a_plot(source: str) -> bool:
    """Whether a cell displays a plot, made there or under a name given in the same cell."""
    made = {
        target.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and called(node.value) in PLOTS
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return any(
        called(value) in PLOTS or (isinstance(value, ast.Name) and value.id in made)
        for value in shown(source)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_plot_has_alternative_text_and_a_caption(page: Notebook) -> None:
    silent = []
    for cell in code_cells(page):
        said = cell.metadata.get("mystnb", {})
        alt, caption = (
            said.get(part, {}).get(key) for part, key in (("image", "alt"), ("figure", "caption"))
        )
        if (shows_a_plot(cell.source) or "figure" in said) and not (alt and caption):
            silent.append(cell.source.splitlines()[-1])
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_alternative_text_says_more_than_the_caption(page: Notebook) -> None:
    said = [cell.metadata.get("mystnb", {}) for cell in code_cells(page)]
    texts = [part["image"]["alt"] for part in said if "image" in part]
    captions = [part["figure"]["caption"] for part in said if "figure" in part]
    assert [text for text in texts if len(text) < 30 or text in captions] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_slider_and_picture_has_alternative_text(page: Notebook) -> None:
    for cell in code_cells(page):
        for node in ast.walk(ast.parse(cell.source)):
            if called(node) == "slider":
                given = {keyword.arg for keyword in node.keywords}
                given |= set(list(inspect.signature(figures.slider).parameters)[: len(node.args)])
                assert {"alt", "caption"} <= given, ast.unparse(node)[:80]
    prose = [cell.source for cell in jupytext.read(page.path).cells if cell.cell_type != "code"]
    for alt, attributes in IMAGES.findall("\n".join(prose)):
        assert alt or 'alt="' in attributes


def test_the_checks_see_a_plot_without_text() -> None:
    assert {"image_grid", "attack_panel", "robustness_curves", "lines"} <= PLOTS
    assert shows_a_plot("figures.image_grid(images)")
    assert shows_a_plot("plot = figures.lines(x)\nplot")
    assert shows_a_plot("for x in y:\n    display(figures.lines(x))")
    assert not shows_a_plot("plot = figures.lines(x)")
    assert not shows_a_plot("figures.table(rows)")
