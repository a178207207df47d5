"""Sphinx's mathematics as MathML, made at build; a formula that cannot be read is a warning."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from armsrace.publishing import mathematics

LOGGER = logging.getLogger(__name__)


def inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(_mathml(self, node, display=False) + "</span>")
    raise nodes.SkipNode


def display(self: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, after its number where it has one.

    On a phone it may be wider than the page: then it scrolls, by keyboard too.
    """
    known = {"class": "math notranslate nohighlight", "tabindex": "0"}
    self.body.append(self.starttag(node, "div", "", **known))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(_mathml(self, node, display=True) + "</div>\n")
    raise nodes.SkipNode


def _mathml(translator: Any, node: nodes.Element, display: bool) -> str:
    try:
        return mathematics.mathml(node.astext(), display)
    except mathematics.FormulaError as error:
        LOGGER.warning("%s", error, location=node)
        return f"<code>{translator.encode(node.astext())}</code>"


def use_static(app: Sphinx, config: Any) -> None:
    """Offer the style sheet and the font of formulas."""
    config.html_static_path.append(str(mathematics.STATIC))


def setup(app: Sphinx) -> dict[str, bool | str]:
    """Connect to Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    app.connect("config-inited", use_static)
    app.add_css_file(mathematics.STYLE.name)
    return {"version": "1", "parallel_read_safe": True}
