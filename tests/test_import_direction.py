"""A layer never imports a later one, and attacks never import defenses."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "armsrace"
# Left to right; those in one pair of braces are level, so none may import another.
LAYERS = (
    {"contracts", "deprecation", "precision", "resources"}, {"norms", "losses"}, {"randomness"},
    {"datasets"}, {"models"}, {"training"}, {"attacks"}, {"defenses"}, {"recipes"},
    {"evaluation"}, {"ledger"}, {"figures"}, {"exercises"}, {"publishing"}, {"cli"}, {"__main__"},
)  # fmt: skip
ALIASES = {"zoo": "models"}
"""Names that the package lends to a module of a layer: `armsrace.zoo` is `armsrace.models.zoo`."""
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def _layer(path: Path, package: Path) -> str:
    return path.relative_to(package).with_suffix("").parts[0]


def _imported(path: Path, package: Path) -> set[str]:
    """The layers that a module imports, at its top or anywhere inside, absolutely or relatively."""
    home = [package.name, *path.relative_to(package).with_suffix("").parts]
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = ".".join([*home[: len(home) - node.level], ""]) if node.level else ""
            source = (start + (node.module or "")).strip(".")
            modules |= {f"{source}.{alias.name}" for alias in node.names}
    found = {name.split(".")[1] for name in modules if name.startswith(f"{package.name}.")}
    return {ALIASES.get(name, name) for name in found}


def violations(package: Path) -> list[str]:
    """Each import that goes against the order, as "file imports layer"."""
    found = []
    for path in sorted(package.rglob("*.py")):
        if path == package / "__init__.py":
            continue
        own = _layer(path, package)
        for other in sorted(_imported(path, package) - {own}):
            known = own in RANK and other in RANK
            if not known or RANK[other] >= RANK[own]:
                found.append(f"{path.relative_to(package)} imports {other}")
    return found


def test_no_layer_imports_a_later_one() -> None:
    assert violations(PACKAGE) == []


def circle(package: Path) -> list[str]:
    """Modules that import each other in a circle at their top, the first that is found."""
    modules = {
        ".".join([package.name, *path.relative_to(package).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): path
        for path in package.rglob("*.py")
    }
    imports: dict[str, set[str]] = {}
    for name, path in modules.items():
        named = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)
        ]
        found = {f"{node.module}.{alias.name}" for node in named for alias in node.names}
        found |= {str(node.module) for node in named}
        # A package that collects names for others is not what its own modules are made of.
        imports[name] = {other for other in found & modules.keys() if not name.startswith(other)}
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(imports[name]):
            if found := follow(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next(filter(None, (follow(name, []) for name in sorted(modules))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(PACKAGE) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = tmp_path / "armsrace"
    package.mkdir()
    for name, other in (("one", "two"), ("two", "three"), ("three", "one")):
        (package / f"{name}.py").write_text(f"from armsrace.{other} import thing\n")
    assert circle(package) == [f"armsrace.{name}" for name in ("one", "two", "three", "one")]


def test_every_module_belongs_to_a_layer() -> None:
    found = {_layer(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert found - {"__init__"} <= RANK.keys() and len(found) > 8


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("attacks/gradient/pgd.py", "from armsrace.defenses import purify", "defenses"),
        ("attacks/gradient/pgd.py", "from armsrace import defenses", "defenses"),
        ("attacks/gradient/pgd.py", "import armsrace.evaluation.arena", "evaluation"),
        ("attacks/gradient/pgd.py", "from ...cli import app", "cli"),
        ("attacks/deep/one.py", "from ...ledger import measure", "ledger"),
        ("attacks/gradient/pgd.py", "from ... import training, evaluation", "evaluation"),
        ("models/zoo.py", "def late():\n    from armsrace.training import loop", "training"),
        ("contracts.py", "from armsrace.resources import data_root", "resources"),
        ("datasets/search.py", "from armsrace.unheard_of import thing", "unheard_of"),
    ],
)
def test_a_violation_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    module = tmp_path / "armsrace" / file
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(line + "\n")
    assert violations(tmp_path / "armsrace") == [f"{file} imports {complaint}"]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("cli/book.py", "from armsrace import attacks, evaluation"),
        ("attacks/gradient/pgd.py", "from armsrace.norms import project"),
        ("attacks/gradient/pgd.py", "from ..base import attack"),
        ("attacks/gradient/pgd.py", "from torch import nn\nimport math"),
        ("__init__.py", "from armsrace import cli"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, line: str) -> None:
    module = tmp_path / "armsrace" / file
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(line + "\n")
    assert violations(tmp_path / "armsrace") == []
