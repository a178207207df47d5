"""Cells of an executed notebook as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from armsrace.ledger.measurements import MIME
from armsrace.publishing.mathematics import mathml


def markdown(text: str) -> str:
    """Markdown with tables and dollar mathematics as HTML, formulas as MathML.

    Wide formulas scroll, by keyboard too. Raises FormulaError for one that cannot be read.
    """
    return str(_MARKDOWN.render(text)).replace(_WIDE, f'{_WIDE[:-1]} tabindex="0">')


def inline(text: str) -> str:
    """The same without a paragraph around it."""
    return str(_MARKDOWN.renderInline(text))


def code(cell: NotebookNode) -> Iterator[str]:
    """The outputs of a cell, notes of measurements apart where there is more; else its code."""
    figure = cell.metadata.get("mystnb", {})
    shown = [output for output in cell.outputs if MIME not in output.get("data", {})]
    alt = str(figure.get("image", {}).get("alt", ""))
    yield from (_output(output, alt) for output in shown or cell.outputs)
    if not cell.outputs:
        yield highlight(cell.source, PythonLexer(), HtmlFormatter(noclasses=True))
    if caption := figure.get("figure", {}).get("caption"):
        yield f'<p class="caption">{inline(caption)}</p>'


def _output(output: NotebookNode, alt: str) -> str:
    """The richest form of an output that a page without a kernel can show."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/html" in data:
        return str(data["text/html"])
    if "image/png" in data:
        picture = data["image/png"].strip()
        return f'<img src="data:image/png;base64,{picture}" alt="{html.escape(alt)}">'
    if "text/markdown" in data:
        return markdown(data["text/markdown"])
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"


def _math(content: str, options: dict[str, Any]) -> str:
    return mathml(content, options["display_mode"])


_WIDE = '<div class="math block">'
_MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=_math)
