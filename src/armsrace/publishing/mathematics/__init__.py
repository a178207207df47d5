"""Formulas as MathML, made when a page is built: a browser draws them without a script.

Temml 0.13.5 (MIT) converts them, in the small QuickJS of a wheel: a build needs neither Node nor
the network. `static/` holds what pages need: a style sheet, and the part of STIX Two Math (OFL)
that formulas use, cut out by `tools/math_font.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import quickjs

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
STYLE = STATIC / "math.css"
FONT = STATIC / "STIXTwoMath.woff2"
ENGINE = FOLDER / "temml.min.js"
# Python can only take strings that JavaScript has serialized.
RENDER = "(tex, options) => JSON.stringify(temml.renderToString(tex, JSON.parse(options)))"


class FormulaError(ValueError):
    """A formula cannot be read; the message says what and where."""


@cache
def mathml(tex: str, display: bool = False) -> str:
    """A formula in LaTeX's notation as a `<math>` element; an inline one breaks at relations.

    display: on a line of its own. Raises FormulaError for an unknown command, an unclosed group
    and the like.
    """
    options = {"displayMode": display, "throwOnError": True, "strict": True, "wrap": "tex"}
    try:
        return str(json.loads(_renderer()(tex.strip(), json.dumps(options))))
    except quickjs.JSException as error:
        reason = str(error).removeprefix("ParseError:").strip().splitlines()[0]
        raise FormulaError(f"formula must be LaTeX, got {tex.strip()!r}: {reason}") from None


@cache
def _renderer() -> Callable[[str, str], Any]:
    """Temml in a JavaScript engine, loaded once."""
    context = quickjs.Context()
    context.eval(ENGINE.read_text(encoding="utf-8"))
    return context.eval(RENDER)
