"""Fetch CIFAR-10's official archive and lay out its binary batches."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from armsrace.datasets import sources
from armsrace.datasets.formats import digest, parse
from armsrace.datasets.mirrors import download
from armsrace.datasets.sources import DatasetCorrupt, DatasetNotFound
from armsrace.resources import replacing

MANIFEST = "sha256.json"


def fetch_cifar10(folder: Path) -> None:
    """Download the archive (162 MB), check its md5, and write its batches and a manifest to folder.

    The manifest holds the sha256 of each batch: it later tells official batches from others.
    Raises DatasetNotFound where the archive cannot be had, DatasetCorrupt where its md5 differs.
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


def official_digests(folder: Path) -> dict[str, str]:
    """Batch name -> sha256, as recorded when the official archive was unpacked into folder.

    Empty where no archive was. Raises DatasetCorrupt for a manifest that cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise DatasetCorrupt(f"{path} is not a JSON object of checksums: delete it") from error


def _unpack(archive: Path, folder: Path) -> None:
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
