"""What `armsrace data` lists, and CIFAR-10's archive."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from armsrace import datasets
from armsrace.datasets import DatasetCorrupt, DatasetNotFound, embedded, search, sources


@pytest.fixture
def archive(tiny_cifar, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's archive on a local server."""
    folder = tiny_cifar.write(tmp_path / "cifar-10-batches-bin")
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as members:
        members.add(folder, folder.name)
    mirror = serve(tmp_path)
    monkeypatch.setattr(sources, "CIFAR_ARCHIVE", mirror.url + path.name)
    monkeypatch.setattr(sources, "CIFAR_ARCHIVE_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def states(dataset: str) -> dict[str, str]:
    """File name -> state."""
    return {row.file: row.state for row in datasets.status() if row.dataset == dataset}


def test_every_file_is_listed_with_its_state(
    tiny_mnist, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(states("MNIST").values()) == set(states("CIFAR-10").values()) == {"missing"}
    assert states("MNIST (embedded)") == {"mnist_5k.csv.gz": "verified"}
    assert states("CIFAR-10 (embedded)") == {"cifar10_*.png": "verified"}
    tiny_mnist.contents["t10k-images-idx3-ubyte"] = b"\0\0\x08\x03"
    del tiny_mnist.contents["train-labels-idx1-ubyte"]
    own = tiny_mnist.write(tmp_path / "own/mnist")
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path / "own"))
    assert states("MNIST") == {
        "train-images-idx3-ubyte": "verified",
        "train-labels-idx1-ubyte": "missing",
        "t10k-images-idx3-ubyte": "corrupt",
        "t10k-labels-idx1-ubyte": "verified",
    }
    row = next(row for row in datasets.status() if row.file == "t10k-images-idx3-ubyte")
    assert (row.path, row.size) == (own / row.file, 4)
    assert "idx header of 16 bytes, found 4 bytes" in row.detail
    assert not cache.exists()


def test_what_packages_carry_is_listed_with_its_size_or_as_lacking(monkeypatch) -> None:
    rows = {row.dataset: row for row in datasets.status() if row.detail == "embedded"}
    assert set(rows) == {"MNIST (embedded)", "CIFAR-10 (embedded)", "ImageNet (embedded)"}
    assert rows["MNIST (embedded)"].size == embedded.path().stat().st_size
    assert 20_000 < rows["CIFAR-10 (embedded)"].size < 100_000  # 20 pictures of 2 kB
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(embedded, "SHA256", "0" * 64)
    assert states("MNIST (embedded)") == {"mnist_5k.csv.gz": "corrupt"}
    assert states("CIFAR-10 (embedded)") == {"cifar10_*.png": "missing"}


def test_cifar10_is_unpacked_with_a_manifest(archive: Path) -> None:
    folder = datasets.download("cifar10")
    assert folder == search.cache_folder("cifar10")
    assert datasets.cifar10("train").description == "CIFAR-10, 6 official training images"
    assert set(states("CIFAR-10").values()) == {"verified"}
    assert sorted(p.name for p in folder.iterdir()) == [
        "data_batch_1.bin",
        "data_batch_2.bin",
        "sha256.json",
        "test_batch.bin",
    ]
    batch = folder / "test_batch.bin"
    content = batch.read_bytes()
    batch.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DatasetCorrupt, match=r"test_batch.bin is corrupt: expected content with"):
        datasets.cifar10()
    assert states("CIFAR-10")["test_batch.bin"] == "corrupt"
    archive_again = datasets.download("cifar10")
    assert datasets.cifar10().source == "official" and archive_again == folder
    (folder / "sha256.json").unlink()
    assert datasets.cifar10().source == "unverified"


def test_a_wrong_archive_leaves_nothing_behind(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DatasetCorrupt, match="expected md5"):
        datasets.download("cifar10")
    assert list(search.cache_folder("cifar10").iterdir()) == []
    archive.unlink()
    with pytest.raises(DatasetNotFound, match="HTTPError"):
        datasets.download("cifar10")


def test_what_is_verified_is_not_downloaded_again(tiny_mnist, serve, cache: Path) -> None:
    mirror = serve(tiny_mnist.write(cache))
    assert datasets.download("mnist") == cache
    assert mirror.requests == []
    with pytest.raises(ValueError, match="name must be one of"):
        datasets.download("imagenet")


def test_the_readme_names_every_checksum() -> None:
    text = (Path(__file__).parents[2] / "data/README.md").read_text()
    known = {file.sha256 for name in sources.TITLES for file in sources.files(name)} - {None}
    carried = embedded.SHA256, embedded.PHOTOGRAPHS_SHA256, embedded.IMAGENET_SHA256
    for value in (*known, *sources.JPEG_COPIES, sources.CIFAR_ARCHIVE_MD5, *carried):
        assert f"`{value}`" in text
    for url in (*sources.MNIST_MIRRORS, sources.CIFAR_ARCHIVE):
        assert url in text
