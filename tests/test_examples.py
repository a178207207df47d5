"""Every public function's docstring has an example, and every example holds."""

from __future__ import annotations

import doctest
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import armsrace
from armsrace import attacks, datasets, defenses, evaluation, zoo
from armsrace.attacks import adaptive
from armsrace.attacks.black_box import substitute
from armsrace.resources import CLONE

NAMES = {
    "attacks": attacks, "datasets": datasets, "defenses": defenses, "evaluation": evaluation,
    "functools": functools, "nn": nn, "torch": torch, "zoo": zoo,
}  # fmt: skip
"""What an example may use without importing it; the first page of the reference says so."""


def examples() -> Iterator[doctest.DocTest]:
    """Those of all modules of the three packages."""
    finder = doctest.DocTestFinder()
    for package in (attacks, defenses, evaluation):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            yield from (test for test in finder.find(module, globs=NAMES) if test.examples)


def public() -> dict[str, Callable[..., Any]]:
    """What should have an example, by name."""
    named = {
        f"{package.__name__.removeprefix('armsrace.')}.{name}": getattr(package, name)
        for package in (attacks, adaptive, defenses, evaluation)
        for name in package.__all__
    }
    named |= {
        "attacks.overpowered": attacks.overpowered,
        "attacks.black_box.substitute.train_substitute": substitute.train_substitute,
    }
    return {name: thing for name, thing in named.items() if is_asked_for(thing)}


def is_asked_for(thing: object) -> bool:
    """A function, or a network that the reader builds; functions make the other ones."""
    if inspect.isclass(thing):
        return issubclass(thing, nn.Module) and thing is not adaptive.EstimatedGradient
    return inspect.isfunction(thing)


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Read the digits once: most examples begin with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", functools.cache(datasets.load))
        yield


@pytest.mark.parametrize("example", list(examples()), ids=lambda test: test.name)
def test_example_holds(example: doctest.DocTest) -> None:
    complaints: list[str] = []
    state = torch.get_rng_state()
    result = doctest.DocTestRunner(verbose=False).run(example, out=complaints.append)
    torch.set_rng_state(state)
    assert result.failed == 0, "".join(complaints)


@pytest.mark.parametrize("name", public())
def test_public_function_has_an_example(name: str) -> None:
    assert ">>> " in (public()[name].__doc__ or ""), f"{name} has no example in its docstring"


@pytest.mark.parametrize("name", public())
def test_docstring_has_no_bars_that_sphinx_would_take_for_a_substitution(name: str) -> None:
    """Sphinx says so too, after all chapters have been executed."""
    assert not re.search(r"(?<![\w|])\|[^|\s][^|\n]*\|(?!\|)", public()[name].__doc__ or "")


def test_the_reference_says_what_examples_may_use() -> None:
    text = (CLONE / "book" / "api.md").read_text(encoding="utf-8")
    for line in ("import functools", "import torch", "from torch import nn"):
        assert f"\n{line}\n" in text
    assert f"\nfrom armsrace import {', '.join(sorted(armsrace.__all__))}\n" in text
