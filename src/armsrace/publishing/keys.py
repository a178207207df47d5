"""What an execution depends on, as one hash: when it changes, the outputs are stale."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from armsrace import datasets
from armsrace.ledger.measurements import device_name
from armsrace.precision import reduced_precision

DATA_SETS = ("mnist", "cifar10")


def digest_files(paths: Iterable[Path], root: Path) -> str:
    """The hash of files, each by its path under root and its bytes."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()}:{content}\n".encode())
    return digest.hexdigest()


def files_under(*folders: Path, pattern: str = "*") -> list[Path]:
    """All files below the folders; a folder that is missing has none."""
    return [path for folder in folders for path in folder.rglob(pattern) if path.is_file()]


def library_key(root: Path, profile: str) -> str:
    """The hash of all that a chapter's outputs come from, its own code apart.

    That is the library (what builds and prints excepted), weights, claims, the data in use, the
    pinned versions, and the device with the instructions that it computes by. Chapters print the
    paper profile's measurements, so they count too; not for that profile itself, which would make
    itself stale by writing them.
    """
    package, data = root / "src" / "armsrace", root / "data"
    builders = {package / "publishing", *package.glob("cli*.py")}
    sources = [
        path
        for path in files_under(package, pattern="*.py")
        if builders.isdisjoint({path, *path.parents})
    ]
    others = [path for path in (data / "claims.yml", root / "requirements.lock") if path.is_file()]
    folders = [data / "checkpoints"] + ([data / "measured"] if profile != "paper" else [])
    in_use = ";".join(datasets.describe(name) for name in DATA_SETS)
    files = digest_files([*sources, *others, *files_under(*folders)], root)
    device = f"{device_name()}, reduced precision {reduced_precision()}"
    return hashlib.sha256(f"{files}|{in_use}|{device}".encode()).hexdigest()
