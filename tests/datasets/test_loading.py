"""Where data sets are found, and what is loaded."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from armsrace import datasets
from armsrace.datasets import DatasetCorrupt, DatasetNotFound, loading, search, sources
from armsrace.datasets.formats import digest

LAYOUTS = ["mnist", "MNIST/raw", "."]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_mnist_is_read_from_the_variable(
    layout: str, gz: bool, tiny_mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_mnist.write(tmp_path / "own" / layout, gz)
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path / "own"))
    for split in ("train", "test"):
        data = datasets.mnist(split)
        assert data.images.dtype == torch.float32 and data.labels.dtype == torch.int64
        np.testing.assert_array_equal(
            data.images.numpy(), tiny_mnist.images[split][:, None].astype(np.float32) / 255
        )
        np.testing.assert_array_equal(data.labels.numpy(), tiny_mnist.labels[split])
        assert (data.source, data.path) == ("official", folder)
    assert data.description == "MNIST, 5 official test images"
    assert datasets.describe("mnist") == f"{data.description}, from $ARMSRACE_DATA"


def test_the_cache_is_next_and_the_detour_is_announced(
    tiny_mnist, cache: Path, tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_mnist.write(cache)
    assert datasets.describe("mnist").endswith("5 official test images, from the user cache")
    assert not caplog.records
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    assert datasets.load("mnist").path == cache
    assert [r.getMessage() for r in caplog.records] == [
        "$ARMSRACE_DATA holds no MNIST (test): using the user cache."
    ]


def test_a_relative_variable_also_counts_from_the_clone(
    tiny_mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_mnist.write(tmp_path / "digits/mnist")
    (tmp_path / "clone/chapters").mkdir(parents=True)
    monkeypatch.setattr(search, "CLONE", tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone/chapters")
    monkeypatch.setenv("ARMSRACE_DATA", "../digits")
    assert datasets.load("mnist").path == tmp_path / "digits/mnist"


def test_one_missing_file_is_named(
    tiny_mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tiny_mnist.write(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    with pytest.raises(DatasetCorrupt, match="incomplete: t10k-labels-idx1-ubyte missing"):
        datasets.load("mnist", "test")
    assert len(datasets.load("mnist", "train")) == 7


def test_training_and_held_out_share_no_image(
    tiny_mnist, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_mnist.write(cache)
    monkeypatch.setattr(loading, "HELD_OUT", 4)
    parts = datasets.held_out(), datasets.training()
    assert [len(part) for part in parts] == [4, 3]
    whole = datasets.load("mnist", "train")
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    assert parts[0].description == "MNIST, 4 official held-out training images"


def test_without_the_training_file_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    for call in (datasets.training, lambda: datasets.load("mnist", "train")):
        with pytest.raises(DatasetNotFound) as error:
            call()
        for part in (
            f"$ARMSRACE_DATA ({tmp_path})",
            str(search.cache_folder("mnist")),
            "ARMSRACE_OFFLINE is set",
            "armsrace data --download mnist",
        ):
            assert part in str(error.value)


def test_cifar10_planes_and_labels(tiny_cifar, tmp_path: Path, monkeypatch) -> None:
    tiny_cifar.write(tmp_path / "cifar10/cifar-10-batches-bin")
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    data = datasets.cifar10("train")
    expected = tiny_cifar.images["train"].astype(np.float32) / 255
    np.testing.assert_array_equal(data.images.numpy(), expected)
    np.testing.assert_array_equal(data.labels.numpy(), tiny_cifar.labels["train"])
    assert data.description == "CIFAR-10, 6 training images (unverified: no known checksum)"
    copies = {digest(content) for content in tiny_cifar.contents.values()}
    monkeypatch.setattr(loading, "JPEG_COPIES", copies)
    assert datasets.cifar10().description == "CIFAR-10, 3 test images (JPEG copies)"


def test_absent_cifar10_is_never_downloaded_and_nothing_stands_in_for_training(
    monkeypatch,
) -> None:
    monkeypatch.delenv("ARMSRACE_OFFLINE")
    assert datasets.load("cifar10").source == "embedded" and datasets.available("cifar10")
    for call in (
        lambda: datasets.load("cifar10", "train"),
        lambda: datasets.held_out("cifar10"),
        lambda: datasets.training("cifar10"),
    ):
        with pytest.raises(DatasetNotFound, match="armsrace data --download cifar10"):
            call()


def test_the_fallback_is_announced_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        datasets.load("mnist", "test")
        datasets.held_out()
        datasets.load("cifar10")
    for record, said in zip(
        caplog.records, ("5,000 embedded training digits", "20 embedded test images"), strict=True
    ):
        assert (record.name, record.levelno) == ("armsrace", logging.WARNING)
        assert said in record.getMessage()


@pytest.mark.parametrize(("name", "split"), [("fashion", "test"), ("mnist", "validation")])
def test_unknown_names_are_refused(name: str, split: str) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        datasets.load(name, split)


def test_offline_asks_nobody(serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = serve(tmp_path)
    monkeypatch.setattr(sources, "MNIST_MIRRORS", (mirror.url,))
    monkeypatch.setenv("ARMSRACE_OFFLINE", "1")
    assert datasets.load("mnist").source == "embedded"
    with pytest.raises(DatasetNotFound, match="ARMSRACE_OFFLINE is set"):
        datasets.download("mnist")
    assert mirror.requests == []


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("kind", ["absent", "file"])
def test_a_mistyped_variable_is_an_error_and_no_reason_for_other_data(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path / kind))
    for call in (
        datasets.load, datasets.training, datasets.held_out, datasets.available, datasets.describe,
        lambda name: datasets.status(),
    ):  # fmt: skip
        with pytest.raises(NotADirectoryError, match=f"ARMSRACE_DATA must name a folder.*{kind}"):
            call(name)
