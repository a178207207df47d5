"""The project's own files: next to the package in a clone, inside it in a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import platformdirs

import armsrace

PACKAGE = Path(__file__).resolve().parent
CLONE = PACKAGE.parents[1]


def data_root() -> Path:
    """The folder with `checkpoints/`, `claims.yml` and `measured/`."""
    for folder in (CLONE / "data", PACKAGE / "_data"):
        if (folder / "claims.yml").is_file():
            return folder
    raise FileNotFoundError(f"armsrace's own data folder is missing beside {PACKAGE}: reinstall it")


def in_clone() -> bool:
    """Whether the package runs from a clone, in which results may be written."""
    return (CLONE / "data" / "claims.yml").is_file()


def chapter_file(topic: str) -> Path:
    """A chapter's file by its topic, such as "fgsm": only the file's name has a number.

    Raises:
        FileNotFoundError: the clone has no such chapter.
    """
    for path in (CLONE / "chapters").glob(f"[0-9][0-9]_{topic}.md"):
        return path
    raise FileNotFoundError(f"{CLONE} has no chapter on {topic!r}")


def chapter_number(topic: str) -> int:
    """The number of a chapter, from its file's name."""
    return int(chapter_file(topic).stem[:2])


@cache
def code_version() -> str:
    """The clone's commit, marked if files differ from it; outside a clone, the release."""
    describe = ("git", "-C", str(CLONE), "describe", "--always", "--dirty", "--exclude", "*")
    if in_clone() and (CLONE / ".git").exists() and shutil.which("git"):
        answer = subprocess.run(describe, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout.strip()
    return f"armsrace {armsrace.__version__}"


def device_name(device: str | None = None) -> str:
    """The device as printed with a measurement: by default the GPU, if there is one.

    For a processor it includes the instructions that torch may use, such as AVX2: they determine
    the speed and the last digits. Measurements of the first months say "CPU" alone.
    """
    import torch  # Here, since it takes seconds, and most callers only look for a file.

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_name(device)
    if kind == "cpu":
        return f"CPU, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    return kind.upper()


def checkpoint_folders() -> list[Path]:
    """The folders of weights: the first match wins, and training writes to the first."""
    own = os.environ.get("ARMSRACE_CHECKPOINTS")
    user = Path(platformdirs.user_data_dir("armsrace")) / "checkpoints"
    shipped = data_root() / "checkpoints"
    folders = [shipped, user] if in_clone() else [user, shipped]
    return [Path(own), *folders] if own else folders


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as handle:
        temporary = Path(handle.name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
