"""Images from the reader's own disk: one folder per class, as in ImageNet, and CelebA's faces."""

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
"""The shorter side divided by the crop's side, as is usual for ImageNet's networks."""
ATTRIBUTES, FOLDER, MALE = "list_attr_celeba.txt", "img_align_celeba", "Male"
CROP = 128
"""The side of the central crop of CelebA's files, which have 178 × 218 pixels."""


@dataclass(frozen=True)
class Pictures:
    """Images (N, 3, S, S) float32 in [0, 1], labels (N,) int64, and the name of each class."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    files: tuple[Path, ...]


def image_folder(root: Path | str, *, size: int = 224, a_class: int | None = None) -> Pictures:
    """Load the images in root/CLASS/FILE, the classes numbered in the order of their names.

    Args:
        root: the folder with one folder per class.
        size: S, the side in pixels. An image is resized until its shorter side is 256/224 of it,
            and its center is cropped. Normalization is the model's task.
        a_class: at most this many images per class, the first by name; all by default.

    Raises:
        DatasetNotFound: no class has an image.
        DatasetCorrupt: a file is not an image; the message names it.
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
        raise DatasetNotFound(f"{root} must hold one folder per class, with images in it")
    files = tuple(file for part in found.values() for file in part)
    labels = [index for index, part in enumerate(found.values()) for _ in part]
    images = torch.stack([picture(file, size) for file in files])
    return Pictures(images, torch.tensor(labels), tuple(found), files)


def picture(file: Path, size: int, margin: float = MARGIN) -> Tensor:
    """The center (3, size, size) in [0, 1] of an image whose shorter side becomes margin · size.

    Raises:
        DatasetCorrupt: the file is not an image.
    """
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DatasetCorrupt(f"{file} is not a readable image: {error}") from error
    scale = round(size * margin) / min(image.size)
    width, height = (max(size, round(scale * side)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    small = image.resize((width, height), Image.Resampling.BILINEAR)
    cut = small.crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(numpy.array(cut, dtype=numpy.uint8))
    return pixels.permute(2, 0, 1).float() / 255


def celeba(root: Path | str, *, first: int = 0, count: int = 10_000, size: int = 64) -> Pictures:
    """Load CelebA's aligned faces; the class is the attribute "Male", 1 or 0.

    Args:
        root: the folder with `list_attr_celeba.txt` and `img_align_celeba/`, as published. The
            official split trains on numbers 0 to 162,769 and tests from 182,637 on.
        first: the number of the first image, in the list's order from 0.
        count: how many images; 10,000 of size 64 take half a gigabyte.
        size: the side in pixels, to which the central 128 × 128 pixels of each file are resized: a
            face without the shoulders.

    Raises:
        DatasetNotFound: the list or an image is missing.
        DatasetCorrupt: the list lacks the attribute or has a bad row, or a file is not an image.
    """
    check_count("first", first, 0)
    check_count("count", count)
    check_count("size", size)
    root = Path(root)
    chosen = _marked(root / ATTRIBUTES)[first : first + count]
    if len(chosen) < count:
        raise ValueError(f"first + count must be within the list, got {first} + {count}")
    files = tuple(root / FOLDER / name for name, _ in chosen)
    for file in files:
        if not file.is_file():
            raise DatasetNotFound(f"{file} is in the list and not in the folder")
    images = torch.stack([picture(file, size, 178 / CROP) for file in files])
    labels = torch.tensor([int(male) for _, male in chosen])
    return Pictures(images, labels, ("not male", "male"), files)


def _marked(path: Path) -> list[tuple[str, bool]]:
    """The file names of the list, and whether each is marked as male."""
    if not path.is_file():
        raise DatasetNotFound(f"CelebA's attributes are not at {path}")
    lines = path.read_text().splitlines()
    names = lines[1].split() if len(lines) > 1 else []
    if MALE not in names:
        raise DatasetCorrupt(f"{path} must name the attribute {MALE} in its second line")
    column = names.index(MALE) + 1
    found = []
    for number, line in enumerate(lines[2:], start=3):
        row = line.split()
        if len(row) != len(names) + 1 or row[column] not in ("1", "-1"):
            raise DatasetCorrupt(f"{path} must hold a name and {len(names)} marks in line {number}")
        found.append((row[0], row[column] == "1"))
    return found
