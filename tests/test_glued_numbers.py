"""The numbers in a page's sentences: each is glued once, used, and no cell prints a sentence."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jupytext
import pytest

from armsrace.resources import CLONE

ROLE = re.compile(r"\{glue:text\}`([^`]*)`")
PAGES = [
    path
    for folder in ("book", "chapters")
    for path in sorted((CLONE / folder).glob("*.md"))
    if "{code-cell}" in path.read_text("utf-8")
]
PRINTED: dict[str, str] = {}
"""{page: why a code cell of it calls Markdown}, for what is no sentence, such as a list."""


def called(tree: ast.AST, name: str) -> list[ast.Call]:
    """The calls of a function of this name, alone or as the attribute of a module."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and name in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]


def problems(text: str) -> list[str]:
    """What is wrong with the glued numbers of a page."""
    cells = jupytext.reads(text, "md:myst").cells
    trees = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    keywords = [word for tree in trees for call in called(tree, "glue") for word in call.keywords]
    given = [word.arg for word in keywords if word.arg is not None]
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    used = set(ROLE.findall(prose))
    found = {
        "a name is not literal": ["**"] * (len(keywords) - len(given)),
        "given twice": sorted({name for name in given if given.count(name) > 1}),
        "given, but in no sentence": sorted(set(given) - used),
        "in a sentence, but not given": sorted(used - set(given)),
        "printed between paragraphs": [
            ast.unparse(call)[:60] for tree in trees for call in called(tree, "Markdown")
        ],
    }
    return [f"{problem}: {', '.join(names)}" for problem, names in found.items() if names]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_each_number_is_given_once_and_stands_in_a_sentence(path: Path) -> None:
    allowed = path.stem in PRINTED
    found = problems(path.read_text("utf-8"))
    printed = [problem for problem in found if problem.startswith("printed")]
    assert [problem for problem in found if not allowed or problem not in printed] == []
    assert bool(printed) == allowed, "the list of exceptions must be as long as needed"


def test_each_problem_is_found() -> None:
    page = """# A title

{glue:text}`one` of {glue:text}`three`.

```{code-cell} ipython3
figures.glue(one="1", two="2")
figures.glue(one="1", **{f"{name}_four": "4"})
display(Markdown(f"**{five}**"))
```
"""
    assert problems(page) == [
        "a name is not literal: **",
        "given twice: one",
        "given, but in no sentence: two",
        "in a sentence, but not given: three",
        "printed between paragraphs: Markdown(f'**{five}**')",
    ]
