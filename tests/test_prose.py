"""Words that pages, docstrings and documents avoid, and what to write in their place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from armsrace.resources import CLONE

AVOID = {
    r"read(s|ing)? (them |it )?rightly": "classified correctly",
    r"mis-?read(s|ing)?": "misclassified",
    r"stands? (below|above|beside) the (table|figure)": "is below",
    r"(is|are|was|were) dear(er)?": "is expensive",
    r"by lot": "at random",
    r"(an|each) image by itself alone": "each image by itself",
    r"naming the argument and the rule": "nothing: the contract says so once",
    r"colour(s|ed|less)?": "color",
    r"neighbour(s|ing|hood)?": "neighbor",
    r"behaviour(s)?": "behavior",
    r"grey": "gray",
    r"(normal|general|optim|summar|recogn|minim|maxim|linear|visual|regular)is(e|es|ed|ing|ation)":
        "-ize, -ization",
    r"centre(s|d)?": "center",
    r"learnt": "learned",
    r"licence": "license",
    r"anew": "again",
    r"whilst|amongst": "while, among",
    r"for ever": "forever",
}  # fmt: skip
PATTERNS = {re.compile(rf"\b({words})\b", re.IGNORECASE): better for words, better in AVOID.items()}
QUOTED = re.compile(r"“[^”]*”|\"[^\"\n]*\"|`[^`\n]*`|\$[^$\n]*\$|\]\([^)]*\)|<[^>\n]*>")
PAGES = [
    path
    for pattern in ("*.md", "book/*.md", "chapters/*.md", "data/*.md", ".github/**/*.md")
    for path in sorted(CLONE.glob(pattern))
]
MODULES = sorted(
    path for part in ("src", "benchmarks", "tools") for path in (CLONE / part).rglob("*.py")
)


def complaints(text: str) -> list[str]:
    """What to replace in a text; what stands in quotes, code, formulas and links is not ours."""
    plain = QUOTED.sub(lambda found: " " * len(found.group()), text)
    return [
        f"line {plain.count(chr(10), 0, found.start()) + 1}: {found.group()!r}; write: {better}"
        for pattern, better in PATTERNS.items()
        for found in pattern.finditer(plain)
    ]


def docstrings(path: Path) -> str:
    """All docstrings of a module."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)
    ]
    return "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(CLONE).as_posix())
def test_a_page_uses_the_fields_words(path: Path) -> None:
    text = path.read_text("utf-8")
    code = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    assert complaints(code.sub(lambda found: "\n" * found.group().count("\n"), text)) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(CLONE).as_posix())
def test_docstrings_use_the_fields_words(path: Path) -> None:
    assert complaints(docstrings(path)) == []


def test_claims_use_the_fields_words() -> None:
    """The ledger prints them. A citation's title is not ours."""
    words = ("statement", "protocol", "unit", "why", "where")
    claims = yaml.safe_load((CLONE / "data" / "claims.yml").read_text("utf-8"))["claims"]
    assert complaints("\n".join(str(row.get(word, "")) for row in claims for word in words)) == []


def test_what_is_avoided_is_found_and_quotations_are_left_alone() -> None:
    assert complaints("It is\nread rightly.") == [
        "line 2: 'read rightly'; write: classified correctly"
    ]
    assert complaints('They wrote "read rightly" and `grey`.') == []
