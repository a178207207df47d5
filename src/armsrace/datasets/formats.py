"""The two file formats, idx and CIFAR-10's binary batches, with every field checked."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from armsrace.datasets.sources import CLASSES, DataFile, DatasetCorrupt

Bytes = NDArray[np.uint8]
UBYTE = 0x08
GZIP = b"\x1f\x8b"  # neither format can begin so
MNIST_SHAPE = (28, 28)
CIFAR_SHAPE = (3, 32, 32)
CIFAR_RECORD = 1 + 3 * 32 * 32


def corrupt(path: Path, expected: str, found: str) -> DatasetCorrupt:
    """The error for a damaged file: its name, what was expected, what was found, what to do."""
    return DatasetCorrupt(
        f"{path} is corrupt: expected {expected}, found {found}. "
        "Delete it, then put a good copy there or run `armsrace data --download NAME`."
    )


def read(path: Path) -> bytes:
    """The plain content of a file, gzipped or not. Raises DatasetCorrupt for a broken gzip.

    The content decides, not the name, since some mirrors and browsers unpack `.gz` files.
    """
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise corrupt(path, "a whole gzip file", f"{len(content):,} bytes ({error})") from error


def parse(content: bytes, file: DataFile, path: Path) -> tuple[Bytes, ...]:
    """The arrays in a file's plain content, with all fields checked except for the checksum.

    Returns:
        (images (N, 28, 28),) or (labels (N,),) of an idx file, or (images (N, 3, 32, 32),
        labels (N,)) of a batch, all uint8.

    Raises:
        DatasetCorrupt: a field is wrong.

    References:
        LeCun et al., MNIST's idx format; Krizhevsky 2009, CIFAR-10's binary version.
    """
    if file.kind == "batch":
        return _parse_batch(content, file, path)
    values = _parse_idx(content, file, path)
    if file.kind == "labels":
        _check_labels(values, path)
    return (values,)


def digest(content: bytes) -> str:
    """The sha256 of plain content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def check_digest(content: bytes, expected: str, path: Path) -> None:
    """Raise DatasetCorrupt unless content has the sha256 expected."""
    if (found := digest(content)) != expected:
        raise corrupt(path, f"content with sha256 {expected}", f"sha256 {found}")


def _parse_idx(content: bytes, file: DataFile, path: Path) -> Bytes:
    """The array in an idx file."""
    shape = (file.count, *MNIST_SHAPE) if file.kind == "images" else (file.count,)
    header = 4 + 4 * len(shape)
    if len(content) < header:
        raise corrupt(path, f"an idx header of {header} bytes", f"{len(content)} bytes")
    zero, dtype, dimensions = struct.unpack(">HBB", content[:4])
    if zero != 0 or dimensions != len(shape):
        magic = f"00 00 {UBYTE:02x} {len(shape):02x}"
        raise corrupt(path, f"the idx magic {magic}", content[:4].hex(" "))
    if dtype != UBYTE:
        raise corrupt(path, f"unsigned bytes (idx type 0x{UBYTE:02x})", f"type 0x{dtype:02x}")
    if (found := struct.unpack(f">{len(shape)}I", content[4:header])) != shape:
        raise corrupt(path, f"shape {shape}", f"{found}")
    _check_size(len(content), header + int(np.prod(shape)), path)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _parse_batch(content: bytes, file: DataFile, path: Path) -> tuple[Bytes, Bytes]:
    """The images and labels in a batch of CIFAR-10."""
    _check_size(len(content), file.count * CIFAR_RECORD, path)
    records = np.frombuffer(content, np.uint8).reshape(file.count, CIFAR_RECORD)
    labels = records[:, 0]
    _check_labels(labels, path)
    return records[:, 1:].reshape(file.count, *CIFAR_SHAPE), labels


def _check_size(found: int, expected: int, path: Path) -> None:
    """Raise DatasetCorrupt unless a file has the expected size."""
    if found != expected:
        what = "truncated" if found < expected else "too long"
        raise corrupt(path, f"{expected:,} bytes", f"{found:,} ({what})")


def _check_labels(labels: Bytes, path: Path) -> None:
    """Raise DatasetCorrupt for a label that is not a class."""
    if labels.max() >= CLASSES:
        first = int(np.argmax(labels >= CLASSES))
        raise corrupt(path, f"labels 0 to {CLASSES - 1}", f"label {labels[first]} at {first}")
