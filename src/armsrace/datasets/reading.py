"""From checked files to a Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from armsrace.datasets import embedded
from armsrace.datasets.archive import official_digests
from armsrace.datasets.dataset import Dataset, Source
from armsrace.datasets.formats import Bytes, check_digest, digest, parse, read
from armsrace.datasets.search import announce, find_file
from armsrace.datasets.sources import FILES, JPEG_COPIES, TITLES, DataFile, DatasetNotFound, Split


def provenance(content: bytes, file: DataFile, path: Path) -> Source:
    """Whose copy a file's plain content is. Raises DatasetCorrupt where a known sha256 differs."""
    known = file.sha256 or official_digests(path.parent).get(file.name)
    if known:
        check_digest(content, known, path)
        return "official"
    return "JPEG copies" if digest(content) in JPEG_COPIES else "unverified"


def read_split(name: str, split: Split, folder: Path) -> Dataset:
    """The split's files in folder, each checked. Raises DatasetCorrupt."""
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
        images, labels = (np.concatenate(part) for part in zip(*arrays, strict=True))
    source = origins.pop() if len(origins) == 1 else "unverified"
    return Dataset(*_tensors(images, labels), name, split, source, folder)


def read_embedded(name: str, split: str) -> Dataset:
    """The embedded images standing in for a split of MNIST or CIFAR-10, announced once.

    Raises DatasetNotFound or DatasetCorrupt where the package that carries them is not as it was.
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


def _tensors(images: Bytes, labels: Bytes) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(images.astype(np.float32)).div_(255)
    return pixels, torch.from_numpy(labels.astype(np.int64))
