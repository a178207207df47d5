"""Load MNIST, CIFAR-10 and photographs: images (N, C, H, W) float32 in [0, 1], labels (N,) int64.

Without the full data sets, images that come with other packages take their place.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from armsrace.contracts import check_choice
from armsrace.datasets import embedded
from armsrace.datasets.dataset import Dataset, Source
from armsrace.datasets.formats import Bytes, check_digest, digest, parse, read
from armsrace.datasets.mirrors import official_digests
from armsrace.datasets.search import announce, cache_folder, find_file, locate
from armsrace.datasets.sources import (
    FILES,
    IMAGENET,
    JPEG_COPIES,
    SPLITS,
    TITLES,
    WHEELS,
    DataFile,
    DatasetNotFound,
    Split,
)

HELD_OUT = 6_000
"""So many of the first training images are used in no training."""


def load(name: str, split: str = "test") -> Dataset:
    """Load a data set from the first place that has it; every file is verified.

    The places are $ARMSRACE_DATA, the user cache, and for MNIST the public mirrors. Without the
    test images, MNIST falls back on 5,000 embedded training digits and CIFAR-10 on 20 embedded test
    images, with a warning. "imagenet-samples" are 20 photographs (3 × 224 × 224) in the package
    foolbox, with labels among `IMAGENET_CLASSES`.

    Args:
        name: "mnist", "cifar10" or "imagenet-samples", of which there are test images only.
        split: "train" or "test".

    Raises:
        DatasetNotFound: no place has the data set.
        DatasetCorrupt: a file is damaged.
        NotADirectoryError: $ARMSRACE_DATA names no folder.
    """
    return _load(name, split)


def _load(name: str, split: str, part: slice = slice(None)) -> Dataset:
    """As `load`, of the images of one part of a split; embedded images are never cut."""
    check_choice("name", name, (*TITLES, IMAGENET))
    check_choice("split", split, SPLITS if name in TITLES else ("test",))
    if name == IMAGENET:
        images, labels = embedded.imagenet()
        return Dataset(images, labels, name, split, "embedded", embedded.photographs_folder())
    chosen: Split = "train" if split == "train" else "test"
    try:
        folder = locate(name, chosen)
    except DatasetNotFound as error:
        if chosen != "test":
            raise
        return _stand_in(name, chosen, error)
    return read_split(name, chosen, folder, part)


def mnist(split: str = "test") -> Dataset:
    """MNIST (LeCun et al. 1998): `load("mnist", split)`, images (N, 1, 28, 28)."""
    return load("mnist", split)


def cifar10(split: str = "test") -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): `load("cifar10", split)`, images (N, 3, 32, 32)."""
    return load("cifar10", split)


def training(name: str = "mnist") -> Dataset:
    """The training images from number 6,000 on, on which the zoo is trained."""
    return _load(name, "train", slice(HELD_OUT, None))


def held_out(name: str = "mnist") -> Dataset:
    """The first 6,000 training images, which no model of the zoo has seen.

    Without MNIST's training file, these are the 5,000 embedded digits, which are among them.
    """
    try:
        part = _load(name, "train", slice(HELD_OUT))
    except DatasetNotFound as error:
        if name != "mnist":
            raise
        return _stand_in(name, "held-out", error)
    return replace(part, split="held-out")


def available(name: str) -> bool:
    """Whether `load(name)` succeeds, be it with embedded images."""
    try:
        load(name)
    except DatasetNotFound:
        return False
    return True


def describe(name: str) -> str:
    """What `load(name, "test")` returns and from where, without the machine's paths."""
    try:
        data = load(name, "test")
    except DatasetNotFound:
        return f"{TITLES.get(name, name)}, not available"
    if data.source == "embedded":
        return f"{data.description}, from the {WHEELS[name]} wheel"
    cached = data.path == cache_folder(name)
    return f"{data.description}, from {'the user cache' if cached else '$ARMSRACE_DATA'}"


def read_split(name: str, split: Split, folder: Path, part: slice = slice(None)) -> Dataset:
    """The split's files in a folder, each verified; DatasetCorrupt names a damaged one.

    part: the images to keep. As float32 they take four times the memory of the files.
    """
    arrays: list[tuple[Bytes, ...]] = []
    origins: set[Source] = set()
    for file in FILES[name][split]:
        path = find_file(folder, file)
        if path is None:
            raise DatasetNotFound(f"{folder / file.name} has just disappeared")
        content = read(path)
        arrays.append(parse(content, file, path))
        origins.add(provenance(content, file, path))
    if name == "mnist":
        images, labels = arrays[0][0][:, None], arrays[1][0]
    else:
        images, labels = (np.concatenate(rows) for rows in zip(*arrays, strict=True))
    source = origins.pop() if len(origins) == 1 else "unverified"
    return Dataset(*_tensors(images[part], labels[part]), name, split, source, folder)


def provenance(content: bytes, file: DataFile, path: Path) -> Source:
    """The origin of a file, by its content; DatasetCorrupt if a known sha256 differs."""
    known = file.sha256 or official_digests(path.parent).get(file.name)
    if known:
        check_digest(content, known, path)
        return "official"
    return "JPEG copies" if digest(content) in JPEG_COPIES else "unverified"


def _tensors(images: Bytes, labels: Bytes) -> tuple[Tensor, Tensor]:
    """Bytes as float32 images in [0, 1] and int64 labels."""
    pixels = torch.from_numpy(images.astype(np.float32)).div_(255)
    return pixels, torch.from_numpy(labels.astype(np.int64))


def _stand_in(name: str, split: str, absent: DatasetNotFound) -> Dataset:
    """The embedded images, or one error that says why neither they nor the full set are here."""
    try:
        return read_embedded(name, split)
    except DatasetNotFound as error:
        raise DatasetNotFound(f"{absent} In its place, {error}") from error


def read_embedded(name: str, split: str) -> Dataset:
    """The embedded images in place of a split of MNIST or CIFAR-10, with a warning.

    DatasetNotFound or DatasetCorrupt says that the package with the images is missing or changed.
    """
    if name == "mnist":
        (images, labels), path = embedded.digits(), Path(str(embedded.path()))
        images, what = images[:, None], "5,000 embedded training digits"
        places = "$ARMSRACE_DATA, the user cache or on the mirrors"
    else:
        (images, labels), path = embedded.photographs(), embedded.photographs_folder()
        what, places = "20 embedded test images", "$ARMSRACE_DATA or the user cache"
    announce(
        f"No full {TITLES[name]} in {places}: measuring on the {what}. "
        f"Set ARMSRACE_DATA or run `armsrace data --download {name}`."
    )
    return Dataset(*_tensors(images, labels), name, split, "embedded", path)
