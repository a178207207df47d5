"""The state of all data files, and downloads on demand: what `armsrace data` shows and does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from armsrace.contracts import check_choice
from armsrace.datasets import embedded
from armsrace.datasets.formats import parse, read
from armsrace.datasets.loading import provenance
from armsrace.datasets.mirrors import fetch_cifar10, fetch_mnist, forget
from armsrace.datasets.search import cache_folder, find_file, offline, own_folder
from armsrace.datasets.sources import (
    FILES,
    SPLITS,
    TITLES,
    DataFile,
    DatasetCorrupt,
    DatasetNotFound,
    files,
)

State = Literal["verified", "unverified", "corrupt", "missing"]


@dataclass(frozen=True)
class FileStatus:
    """One file of a data set: where it is, its size in bytes, its state, and details."""

    dataset: str
    file: str
    path: Path | None
    size: int | None
    state: State
    detail: str


def status() -> list[FileStatus]:
    """The state of every file of every data set. It downloads nothing.

    The only error is NotADirectoryError, if $ARMSRACE_DATA names no folder.
    """
    rows = []
    for name in TITLES:
        for split in SPLITS:
            wanted = FILES[name][split]
            folder = own_folder(name, wanted) or cache_folder(name)
            rows += [_status(name, file, find_file(folder, file)) for file in wanted]
    return [*rows, *_embedded_status()]


def download(name: str) -> Path:
    """Download a data set into the user cache; files that are not verified are replaced.

    Args:
        name: "mnist" or "cifar10".

    Returns:
        The folder.

    Raises:
        DatasetNotFound: it cannot be downloaded.
        DatasetCorrupt: a downloaded file is wrong.
    """
    check_choice("name", name, tuple(TITLES))
    folder = cache_folder(name)
    rows = [(file, _status(name, file, find_file(folder, file))) for file in files(name)]
    wanted = [file for file, row in rows if row.state != "verified"]
    if not wanted:
        return folder
    if offline():
        raise DatasetNotFound(f"ARMSRACE_OFFLINE is set: unset it to download {TITLES[name]}")
    if name == "mnist":
        forget(folder)
        fetch_mnist(wanted, folder)
    else:
        fetch_cifar10(folder)
    return folder


def _status(name: str, file: DataFile, path: Path | None) -> FileStatus:
    """The state of one file."""
    if path is None:
        return FileStatus(TITLES[name], file.name, None, None, "missing", "")
    size = path.stat().st_size
    try:
        content = read(path)
        parse(content, file, path)
        source = provenance(content, file, path)
    except (OSError, DatasetCorrupt) as error:
        return FileStatus(TITLES[name], file.name, path, size, "corrupt", str(error))
    state: State = "unverified" if source == "unverified" else "verified"
    return FileStatus(TITLES[name], file.name, path, size, state, source)


def _embedded_status() -> list[FileStatus]:
    """The state of the embedded images."""
    return [
        _package_status("MNIST", "mnist_5k.csv.gz", embedded.path, embedded.digits),
        _package_status(
            "CIFAR-10", "cifar10_*.png", embedded.photographs_folder, embedded.photographs
        ),
        _package_status(
            "ImageNet", "imagenet_*.jpg", embedded.photographs_folder, embedded.imagenet
        ),
    ]


def _package_status(
    title: str, file: str, path: Callable[[], object], content: Callable[[], object]
) -> FileStatus:
    """The state of the images in another package; file: the name or pattern of its files."""
    title = f"{title} (embedded)"
    try:
        place = Path(str(path()))
    except DatasetNotFound as error:
        return FileStatus(title, file, None, None, "missing", str(error))
    parts = [place] if place.is_file() else place.glob(file)
    size = sum(part.stat().st_size for part in parts)
    try:
        content()
    except DatasetCorrupt as error:
        return FileStatus(title, file, place, size, "corrupt", str(error))
    return FileStatus(title, file, place, size, "verified", "embedded")
