"""Bad files: each is refused, by name, with what was expected and what was found."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from armsrace import datasets
from armsrace.datasets import DatasetCorrupt

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
BAD_IDX = {
    "truncated": (IMAGES, lambda c: c[:-1], "3,936 bytes, found 3,935 (truncated)"),
    "too long": (IMAGES, lambda c: c + b"\0", "found 3,937 (too long)"),
    "empty": (IMAGES, lambda c: b"", "an idx header of 16 bytes, found 0 bytes"),
    "one pixel changed": (
        IMAGES,
        lambda c: c[:-1] + bytes([c[-1] ^ 1]),
        "expected content with",
    ),
    "wrong dtype": (IMAGES, lambda c: b"\0\0\x0d" + c[3:], "unsigned bytes (idx type 0x08), found"),
    "wrong magic": (IMAGES, lambda c: b"PK" + c[2:], "idx magic 00 00 08 03, found 50 4b 08 03"),
    "labels for images": (LABELS, lambda c: c[:3] + b"\x03" + c[4:], "magic 00 00 08 01"),
    "other shape": (IMAGES, lambda c: c[:7] + b"\x06" + c[8:], "(5, 28, 28), found (6, 28, 28)"),
    "label out of range": (
        LABELS,
        lambda c: c[:-1] + b"\x0b",
        "labels 0 to 9, found label 11 at 4",
    ),
}


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("case", BAD_IDX)
def test_a_bad_idx_file_is_refused(
    case: str, gz: bool, tiny_mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, spoil, message = BAD_IDX[case]
    tiny_mnist.contents[name] = spoil(tiny_mnist.contents[name])
    folder = tiny_mnist.write(tmp_path / "mnist", gz)
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    with pytest.raises(DatasetCorrupt) as error:
        datasets.load("mnist", "test")
    assert str(folder / name) in str(error.value)
    assert message in str(error.value)
    assert "armsrace data --download" in str(error.value)


@pytest.mark.parametrize("spoil", [lambda z: z[:-9], lambda z: z[:40] + b"?" * 9 + z[49:]])
def test_a_broken_gzip_is_refused(
    spoil: Callable[[bytes], bytes], tiny_mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_mnist.write(tmp_path / "mnist", gz=True) / f"{IMAGES}.gz"
    path.write_bytes(spoil(gzip.compress(tiny_mnist.contents[IMAGES])))
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    with pytest.raises(DatasetCorrupt, match=f"{IMAGES}.gz is corrupt: expected a whole gzip file"):
        datasets.load("mnist", "test")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:-1], "9,219 bytes, found 9,218"),
        (lambda c: c[:3073] + b"\x0a" + c[3074:], "labels 0 to 9, found label 10 at 1"),
    ],
    ids=["truncated", "label out of range"],
)
def test_a_bad_batch_is_refused(
    spoil, message: str, tiny_cifar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_cifar.contents["data_batch_2.bin"] = spoil(tiny_cifar.contents["data_batch_2.bin"])
    tiny_cifar.write(tmp_path / "cifar-10-batches-bin")
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    with pytest.raises(DatasetCorrupt, match=f"data_batch_2.bin.*{message}"):
        datasets.load("cifar10", "train")
