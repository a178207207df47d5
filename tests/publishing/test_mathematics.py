"""Formulas as MathML, and whether the font has all their characters."""

from __future__ import annotations

import html
import re

import pytest
from fontTools.ttLib import TTFont

from armsrace.publishing.mathematics import FONT, FormulaError, mathml
from armsrace.resources import CLONE

SOURCES = [*(CLONE / "chapters").glob("*.md"), *(CLONE / "book").glob("*.md")]
# Fences of code first: a dollar in them is none of ours.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL)


def formulas() -> set[tuple[str, bool]]:
    """All formulas of the book, and whether each stands on a line of its own."""
    texts = [CODE.sub("", path.read_text(encoding="utf-8")) for path in SOURCES]
    pairs = [pair for text in texts for pair in FORMULA.findall(text)]
    return {(wide or narrow, bool(wide)) for wide, narrow in pairs}


def test_a_formula_is_what_it_says() -> None:
    found = mathml(r"\lVert \delta \rVert_2 \le \tfrac{1}{2}")
    assert found.startswith("<math>") and '"block"' not in found
    assert re.sub(r"<[^>]+>", "", found) == "‖δ‖2≤12"
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac>" in found
    assert 'display="block"' in mathml("x", display=True)


@pytest.mark.parametrize(("tex", "reason"), [
    (r"\nosuch x", r"Unsupported function name: \\nosuch"),
    (r"\frac{1}{2", "Unexpected end of input"),
    ("x_{a", "Expected '}'"),
    (r"\begin{cases} 1", "Expected"),
    ("a & b", "&"),
])  # fmt: skip
def test_a_formula_that_cannot_be_read_is_refused(tex: str, reason: str) -> None:
    with pytest.raises(FormulaError, match=f"formula must be LaTeX, got .*{reason}"):
        mathml(tex)


def test_the_font_has_every_character_of_the_book() -> None:
    wanted = formulas()
    assert len(wanted) > 500
    drawn = [re.sub(r"<[^>]+>", "", mathml(tex, wide)) for tex, wide in wanted]
    known = TTFont(FONT).getBestCmap()
    assert {sign for sign in html.unescape("".join(drawn)) if ord(sign) not in known} == set()
