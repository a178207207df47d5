"""What `book/coming_from.md` and the README name exists: there, here, and among the tests."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import armsrace
from armsrace.resources import CLONE

PAGE = (CLONE / "book" / "coming_from.md").read_text(encoding="utf-8")
README = (CLONE / "README.md").read_text(encoding="utf-8")
CALL = re.compile(r"`([a-z]\w*(?:\.\w+)+)\(([^`()]*)\)`")
LIBRARIES = ("foolbox", "torchattacks", "art", "adv_lib", "robustbench")
OURS = ("attacks", "evaluation", "zoo", "datasets", "defenses")


def calls(ours: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names with the keywords in their parentheses, of this package or of the others."""
    rows = "".join(line for line in README.splitlines(keepends=True) if line.startswith("|"))
    for name, keywords in CALL.findall(PAGE + rows):
        if (name.split(".")[0] not in LIBRARIES) == ours:
            yield name, tuple(re.findall(r"\w+", keywords))


def resolve(name: str) -> Any:
    """What a dotted name stands for, modules imported as they are met."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for place, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:place]))
        found = getattr(found, part)
    return found


def missing(call: Any, keywords: tuple[str, ...]) -> set[str]:
    """The keywords that a function or a class does not take."""
    return set(keywords) - inspect.signature(call).parameters.keys()


def keywords_read(module: str, function: str) -> set[str]:
    """Those of a function of RobustBench, whose modules import the torchvision that is not here."""
    package = find_spec("robustbench")
    if package is None or package.origin is None:
        pytest.skip("the wheel of torchattacks, which carries robustbench, is missing")
    tree = ast.parse(Path(package.origin).with_name(f"{module}.py").read_text(encoding="utf-8"))
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    return {argument.arg for argument in found[function].args.args}


@pytest.mark.parametrize(("name", "keywords"), list(calls(ours=True)))
def test_what_the_page_names_is_here(name: str, keywords: tuple[str, ...]) -> None:
    assert missing(resolve(f"{armsrace.__name__}.{name}"), keywords) == set()


@pytest.mark.peers
@pytest.mark.parametrize(("name", "keywords"), list(calls(ours=False)))
def test_what_the_page_names_is_there(name: str, keywords: tuple[str, ...]) -> None:
    library, module, function = (*name.split("."), "")[:3]
    if library == "robustbench":
        assert keywords_read(module, function) >= set(keywords)
        return
    pytest.importorskip(library)
    if library == "adv_lib":  # Which is imported by way of stand-ins for what it does not need.
        importlib.import_module("adversarial_library")
    assert missing(resolve(name), keywords) == set()


def test_the_readme_has_a_row_for_each_library() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| ") and " | `" in line]
    for library in LIBRARIES:
        (row,) = [row for row in rows if f"`{library}." in row]
        names = [name for name, _ in CALL.findall(row)]
        assert len(names) == 2 and names[1].split(".")[0] in OURS


def test_rows_called_verified_name_tests_that_compare() -> None:
    folder = CLONE / "tests" / "attacks"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("test_*.py")]
    peers = "\n".join(text for text in texts if "mark.peers" in text)
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 15
    assert {name for name in named if f"def {name}(" not in peers} == set()
