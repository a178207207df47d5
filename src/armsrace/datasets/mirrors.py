"""Fetch MNIST from its public mirrors; give up on them quickly, and not again and again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Thread

import pooch

from armsrace.datasets import sources
from armsrace.datasets.formats import check_digest, parse, read
from armsrace.datasets.sources import DataFile, DatasetCorrupt, DatasetNotFound
from armsrace.resources import replacing

ANSWER_SECONDS = 3.0  # for the mirrors' first answers, all together, name lookup included
STALL_SECONDS = 3.0  # without one byte in the middle of a file
MEMORY_SECONDS = 600.0
_given_up: set[Path] = set()


def fetch_mnist(wanted: Sequence[DataFile], folder: Path) -> None:
    """Download the wanted files into folder, plain; each appears there whole and checked.

    Raises DatasetNotFound, with what each mirror did, where none delivers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mirrors = _answering(sources.MNIST_MIRRORS, f"{wanted[0].name}.gz")
    reasons = [f"{url} does not answer" for url in sources.MNIST_MIRRORS if url not in mirrors]
    for file in wanted:
        while mirrors:
            try:
                _fetch(mirrors[0], file, folder)
                break
            except (OSError, DatasetCorrupt) as error:
                reasons.append(f"{mirrors.pop(0)} failed: {type(error).__name__}")
        else:
            raise DatasetNotFound(f"no mirror delivered {file.name}: {'; '.join(reasons)}")


def give_up(folder: Path) -> None:
    """Remember that folder's mirrors failed: in this process for good, in others for 10 minutes.

    For good, since a process that changed its data set midway would mix two in one result.
    """
    _given_up.add(folder)
    with contextlib.suppress(OSError):  # an unwritable cache only costs the next process 3 seconds
        _marker(folder).touch()


def forget(folder: Path) -> None:
    """Let folder's mirrors be tried again."""
    _given_up.discard(folder)
    _marker(folder).unlink(missing_ok=True)


def given_up(folder: Path) -> bool:
    """Whether folder's mirrors failed in this process or, lately, in another one."""
    try:
        age = time.time() - _marker(folder).stat().st_mtime
    except OSError:
        age = MEMORY_SECONDS
    return folder in _given_up or age < MEMORY_SECONDS


def download(url: str, path: Path) -> None:
    """Stream url into path with a progress bar. Raises OSError, also where the stream stalls."""
    stream = pooch.HTTPDownloader(
        progressbar=True, chunk_size=1 << 16, timeout=(ANSWER_SECONDS, STALL_SECONDS)
    )
    stream(url, str(path), None)


def _marker(folder: Path) -> Path:
    return folder / ".mirrors-gave-up"


def _fetch(mirror: str, file: DataFile, folder: Path) -> None:
    name = f"{file.name}.gz"
    with TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        archive = Path(temporary) / name
        download(mirror + name, archive)
        content = read(archive)
    parse(content, file, Path(name))
    if file.sha256 is not None:
        check_digest(content, file.sha256, Path(name))
    with replacing(folder / file.name) as path:
        path.write_bytes(content)


def _answering(mirrors: Sequence[str], name: str) -> list[str]:
    """The mirrors that have the file and say so within ANSWER_SECONDS, quickest first.

    Asked in daemon threads: a name lookup knows no timeout and would hold up the caller.
    """
    answers: Queue[tuple[str, bool]] = Queue()
    for mirror in mirrors:
        Thread(target=_ask, args=(mirror, name, answers), daemon=True).start()
    alive = []
    deadline = time.monotonic() + ANSWER_SECONDS
    with contextlib.suppress(Empty):
        for _ in mirrors:
            mirror, answered = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            alive += [mirror] if answered else []
    return alive


def _ask(mirror: str, name: str, answers: Queue[tuple[str, bool]]) -> None:
    head = pooch.HTTPDownloader(timeout=ANSWER_SECONDS)
    try:
        answers.put((mirror, bool(head(mirror + name, None, None, check_only=True))))
    except OSError:
        answers.put((mirror, False))
