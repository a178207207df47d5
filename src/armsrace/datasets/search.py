"""Find a data set: in $ARMSRACE_DATA, then in the user cache, then on the public mirrors."""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path

import platformdirs

from armsrace.datasets.mirrors import fetch_mnist, give_up, given_up
from armsrace.datasets.sources import (
    CIFAR_FOLDER,
    FILES,
    TITLES,
    DataFile,
    DatasetCorrupt,
    DatasetNotFound,
    Split,
)
from armsrace.resources import CLONE

LAYOUTS = {  # inside $ARMSRACE_DATA; MNIST/raw is where torchvision puts it
    "mnist": ("mnist", "MNIST/raw", "."),
    "cifar10": (f"cifar10/{CIFAR_FOLDER}", "cifar10", CIFAR_FOLDER, "."),
}


@functools.cache
def announce(message: str) -> None:
    """Log a message as a warning, once per process."""
    logging.getLogger("armsrace").warning(message)


def offline() -> bool:
    """Whether $ARMSRACE_OFFLINE forbids downloads (anything but empty and 0)."""
    return os.environ.get("ARMSRACE_OFFLINE", "0") not in ("", "0")


def own_root() -> Path | None:
    """The folder in $ARMSRACE_DATA, or None if it is not set.

    A relative path may also be relative to the clone, since notebooks run in a folder of their own.

    Raises:
        NotADirectoryError: it names no folder. A typing error must not end in other data.
    """
    value = os.environ.get("ARMSRACE_DATA")
    if not value:
        return None
    root = Path(value).expanduser()
    if root.is_dir():
        return root
    if (CLONE / root).is_dir():
        return (CLONE / root).resolve()
    raise NotADirectoryError(
        f"ARMSRACE_DATA must name a folder, got {value!r}: correct it, or unset it to do without"
    )


def cache_folder(name: str) -> Path:
    """The folder for downloads of a data set."""
    return Path(platformdirs.user_cache_dir("armsrace")) / LAYOUTS[name][0]


def find_file(folder: Path, file: DataFile) -> Path | None:
    """The file in a folder, plain or gzipped, or None."""
    candidates = (folder / file.name, folder / f"{file.name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def own_folder(name: str, wanted: tuple[DataFile, ...]) -> Path | None:
    """The folder below $ARMSRACE_DATA with any of the wanted files, or None.

    NotADirectoryError says that $ARMSRACE_DATA names no folder.
    """
    root = own_root()
    folders = [root / layout for layout in LAYOUTS[name]] if root else []
    return next((f for f in folders if any(find_file(f, file) for file in wanted)), None)


def locate(name: str, split: Split) -> Path:
    """The folder with all files of a split; MNIST is downloaded if necessary.

    Raises:
        DatasetNotFound: the split was not found; the message lists the places.
        DatasetCorrupt: $ARMSRACE_DATA has only some of the files.
        NotADirectoryError: $ARMSRACE_DATA names no folder.
    """
    wanted = FILES[name][split]
    if folder := own_folder(name, wanted):
        if missing := [file.name for file in wanted if not find_file(folder, file)]:
            raise DatasetCorrupt(
                f"{folder} is incomplete: {', '.join(missing)} missing. "
                "Put the file there, or unset ARMSRACE_DATA to have it downloaded."
            )
        return folder
    cache = cache_folder(name)
    missing_files = [file for file in wanted if not find_file(cache, file)]
    reason = _fetch(name, missing_files, cache) if missing_files else None
    if reason:
        raise DatasetNotFound(_not_found(name, split, reason))
    if own_root():
        announce(f"$ARMSRACE_DATA holds no {TITLES[name]} ({split}): using the user cache.")
    return cache


def _fetch(name: str, missing: list[DataFile], cache: Path) -> str | None:
    """Download the missing files; returns None or the reason for a failure."""
    if name != "mnist":
        return "not tried: only `armsrace data --download` fetches this one"
    if offline():
        return "not tried: ARMSRACE_OFFLINE is set"
    if given_up(cache):
        return "not tried: they failed less than 10 minutes ago or earlier in this process"
    try:
        fetch_mnist(missing, cache)
    except OSError as error:
        give_up(cache)
        return str(error)
    return None


def _not_found(name: str, split: Split, reason: str) -> str:
    """The message for a split that was not found."""
    state = own_root() or "not set"
    return (
        f"{TITLES[name]}'s {split} files are neither in $ARMSRACE_DATA ({state}) nor in the user "
        f"cache ({cache_folder(name)}) nor on the mirrors ({reason}). Set ARMSRACE_DATA to a "
        f"folder that holds them or run `armsrace data --download {name}`."
    )
