"""Downloads: MNIST from its public mirrors, CIFAR-10 from its official archive.

Mirrors that do not answer cost a few seconds once, not at each call.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Thread

import pooch

from armsrace.datasets import sources
from armsrace.datasets.formats import check_digest, digest, parse, read
from armsrace.datasets.sources import DataFile, DatasetCorrupt, DatasetNotFound
from armsrace.resources import replacing

ANSWER_SECONDS = 3.0  # for the first answers of all mirrors together, name lookup included
STALL_SECONDS = 3.0  # without a byte in the middle of a file
MEMORY_SECONDS = 600.0  # in which mirrors that failed are not tried again
_given_up: set[Path] = set()
MANIFEST = "sha256.json"


def fetch_mnist(wanted: Sequence[DataFile], folder: Path) -> None:
    """Download files into a folder, unpacked; each appears there only when complete and verified.

    Raises:
        DatasetNotFound: no mirror delivers a file; the message says what each mirror did.
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


def _answering(mirrors: Sequence[str], name: str) -> list[str]:
    """The mirrors that have the file and answer within ANSWER_SECONDS, the fastest first.

    Requests run in daemon threads, since a name lookup has no timeout and would block the caller.
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
    """Put whether a mirror has a file into the queue."""
    head = pooch.HTTPDownloader(timeout=ANSWER_SECONDS)
    try:
        answers.put((mirror, bool(head(mirror + name, None, None, check_only=True))))
    except OSError:
        answers.put((mirror, False))


def _fetch(mirror: str, file: DataFile, folder: Path) -> None:
    """Download one file from one mirror, verify it, and put it in place."""
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


def download(url: str, path: Path) -> None:
    """Download a URL to a path with a progress bar; OSError if the stream fails or stalls."""
    stream = pooch.HTTPDownloader(
        progressbar=True, chunk_size=1 << 16, timeout=(ANSWER_SECONDS, STALL_SECONDS)
    )
    stream(url, str(path), None)


def give_up(folder: Path) -> None:
    """Remember that a folder's mirrors failed: forever in this process, for 10 minutes in others.

    Forever, since a process that changed its data set midway would mix two in one result.
    """
    _given_up.add(folder)
    with contextlib.suppress(OSError):  # an unwritable cache only costs the next process 3 seconds
        _marker(folder).touch()


def forget(folder: Path) -> None:
    """Allow a folder's mirrors to be tried again."""
    _given_up.discard(folder)
    _marker(folder).unlink(missing_ok=True)


def given_up(folder: Path) -> bool:
    """Whether a folder's mirrors failed in this process or, recently, in another one."""
    try:
        age = time.time() - _marker(folder).stat().st_mtime
    except OSError:
        age = MEMORY_SECONDS
    return folder in _given_up or age < MEMORY_SECONDS


def _marker(folder: Path) -> Path:
    """The file whose date says when the mirrors failed."""
    return folder / ".mirrors-gave-up"


def fetch_cifar10(folder: Path) -> None:
    """Download CIFAR-10's archive (162 MB), verify it, and write its batches and a manifest.

    The manifest has the sha256 of each batch, by which official batches are recognized later.

    Raises:
        DatasetNotFound: the archive cannot be downloaded.
        DatasetCorrupt: its md5 differs from the official one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        archive = Path(temporary) / "archive.tar.gz"
        try:
            download(sources.CIFAR_ARCHIVE, archive)
        except OSError as error:
            reason = type(error).__name__
            raise DatasetNotFound(f"{sources.CIFAR_ARCHIVE} failed: {reason}") from error
        with archive.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != sources.CIFAR_ARCHIVE_MD5:
            raise DatasetCorrupt(
                f"{sources.CIFAR_ARCHIVE}: expected md5 {sources.CIFAR_ARCHIVE_MD5}, found {found}"
            )
        _unpack(archive, folder)


def _unpack(archive: Path, folder: Path) -> None:
    """Write the batches of the archive and their manifest to a folder."""
    digests = {}
    with tarfile.open(archive) as members:
        for file in sources.files("cifar10"):
            member = members.extractfile(f"{sources.CIFAR_FOLDER}/{file.name}")
            if member is None:
                raise DatasetCorrupt(f"{sources.CIFAR_ARCHIVE}: {file.name} is not a file")
            content = member.read()
            parse(content, file, Path(file.name))
            digests[file.name] = digest(content)
            with replacing(folder / file.name) as path:
                path.write_bytes(content)
    with replacing(folder / MANIFEST) as path:
        path.write_text(json.dumps(digests, indent=1) + "\n")


def official_digests(folder: Path) -> dict[str, str]:
    """The sha256 of each batch, as recorded when the official archive was unpacked into a folder.

    Empty if no archive was. Raises DatasetCorrupt for a manifest that cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise DatasetCorrupt(f"{path} is not a JSON object of checksums: delete it") from error
