"""Pictures from the reader's own disk: a folder a class, as ImageNet is unpacked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from armsrace.contracts import check_count
from armsrace.datasets.sources import DatasetCorrupt, DatasetNotFound

ENDINGS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp"}
MARGIN = 256 / 224
"""The shorter side over the crop's side, the common preparation for ImageNet's networks."""


@dataclass(frozen=True)
class Pictures:
    """Images (N, 3, S, S) float32 in [0, 1], labels (N,) int64, and the name of each class."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    files: tuple[Path, ...]


def image_folder(root: Path | str, *, size: int = 224, a_class: int | None = None) -> Pictures:
    """The pictures of root/CLASS/FILE, the classes numbered by their names in order.

    size: S, the side in pixels: the shorter side is brought to 256/224 of it, and the middle cut
        out. Normalisation belongs to the model, as everywhere here.
    a_class: how many pictures of each class at most, the first by name; all by default.

    Raises DatasetNotFound where the folder holds no class with a picture, DatasetCorrupt naming a
    file that is no picture, ValueError for a count below 1.
    """
    check_count("size", size)
    if a_class is not None:
        check_count("a_class", a_class)
    root = Path(root)
    folders = sorted(path for path in root.glob("*") if path.is_dir())
    found = {
        path.name: sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
        for path in folders
    }
    found = {name: files[:a_class] for name, files in found.items() if files}
    if not found:
        raise DatasetNotFound(f"{root} must hold a folder a class, with pictures in it")
    files = tuple(file for part in found.values() for file in part)
    labels = [index for index, part in enumerate(found.values()) for _ in part]
    images = torch.stack([picture(file, size) for file in files])
    return Pictures(images, torch.tensor(labels), tuple(found), files)


def picture(file: Path, size: int, margin: float = MARGIN) -> Tensor:
    """One picture (3, size, size) in [0, 1]: its shorter side brought to margin · size, its middle.

    Raises DatasetCorrupt where the file is no picture.
    """
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DatasetCorrupt(f"{file} is no picture that can be read: {error}") from error
    scale = round(size * margin) / min(image.size)
    width, height = (max(size, round(scale * side)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    cut = small.crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(numpy.array(cut, dtype=numpy.uint8))
    return pixels.permute(2, 0, 1).float() / 255
