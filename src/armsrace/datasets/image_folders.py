"""Images from the reader's own disk: one folder per class, as in ImageNet, and CelebA's faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor

from armsrace.contracts import check_count
from armsrace.datasets.sources import DatasetCorrupt, DatasetNotFound

ENDINGS = {
    ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
LEFT_BEHIND = ("__MACOSX", "@eaDir")
"""Folders that systems add unasked; like names that begin with a dot, they are never a class."""
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


def image_folder(
    root: Path | str, *, size: int = 224, a_class: int | None = None, allow_empty: bool = False
) -> Pictures:
    """Load the images in root/CLASS/FILE, the classes numbered in the order of their names.

    Hidden folders and files (`.ipynb_checkpoints`, `._a.jpg`, `__MACOSX`) are ignored. Images are
    turned as the camera's EXIF tag says. What is transparent is shown on white.

    Args:
        root: the folder with one folder per class.
        size: S, the side in pixels. An image is resized until its shorter side is 256/224 of it,
            and its center is cropped. Normalization is the model's task.
        a_class: at most this many images per class, the first by name; all by default.
        allow_empty: whether a class may have no images. It keeps its number, as the thousand
            folders of ImageNet do if only some are filled. By default an empty class is an error.

    Raises:
        DatasetNotFound: no class has an image, or a class has none.
        DatasetCorrupt: a file is not an image; the message names it.
    """
    check_count("size", size)
    if a_class is not None:
        check_count("a_class", a_class)
    root = Path(root)
    found = {folder.name: _images_in(folder)[:a_class] for folder in _visible(root, Path.is_dir)}
    if not any(found.values()):
        raise DatasetNotFound(f"{root} must hold one folder per class, with images in it")
    empty = [name for name, files in found.items() if not files]
    if empty and not allow_empty:
        # Without their numbers, the labels of all later classes would shift.
        raise DatasetNotFound(
            f"{root} holds no images in the classes {', '.join(empty)}: images are files named "
            f"{', '.join(sorted(ENDINGS))}, directly in the folder of their class. Fill or delete "
            "these folders, or pass allow_empty=True, with which they keep their numbers."
        )
    files = tuple(file for part in found.values() for file in part)
    labels = [index for index, part in enumerate(found.values()) for _ in part]
    images = torch.stack([picture(file, size) for file in files])
    return Pictures(images, torch.tensor(labels), tuple(found), files)


def _images_in(folder: Path) -> list[Path]:
    """The folder's images, in the order of their names."""
    return _visible(folder, lambda file: file.suffix.lower() in ENDINGS)


def _visible(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    """What a folder holds of the wanted, in the order of the names, without what is hidden."""
    paths = folder.iterdir() if folder.is_dir() else ()
    shown = (path for path in paths if not path.name.startswith((".", *LEFT_BEHIND)))
    return sorted(filter(wanted, shown), key=lambda path: path.name)


def picture(
    file: Path | str,
    size: int,
    margin: float = MARGIN,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> Tensor:
    """One picture of the reader's own, as a model of photographs wants it.

    Args:
        file: the image, in any format that Pillow reads.
        size: of what is returned, in pixels.
        margin: the shorter side becomes margin · size before the center is cut out.
        resampling: how it is resized.

    Returns:
        The center (3, size, size) in [0, 1], upright and in RGB.

    Raises:
        DatasetCorrupt: the file is not an image, or not one with known colors; the message names
            the file.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (640, 480), "red").save(f"{folder}/photograph.png")
        ...     image = datasets.picture(f"{folder}/photograph.png", 224)
        >>> image.shape
        torch.Size([3, 224, 224])
    """
    try:
        with Image.open(file) as opened:
            image = _colors(opened)
        cut = _center(image, size, margin, resampling)
    # Broken files raise whatever the decoders stumble on: OSError, ValueError, SyntaxError,
    # struct.error, DecompressionBombError.
    except Exception as error:
        raise DatasetCorrupt(f"{file} is not a readable image: {error or repr(error)}") from error
    pixels = torch.from_numpy(numpy.array(cut, dtype=numpy.uint8))
    return pixels.permute(2, 0, 1).float() / 255


def _colors(opened: Image.Image) -> Image.Image:
    """The image upright, in 8-bit RGB, on white."""
    image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16") or (image.mode == "I" and opened.format in ("PNG", "PPM")):
        # 16 bits of gray, which Pillow's own conversion clips at 255.
        gray = numpy.asarray(image, dtype=numpy.float64) / 65_535
        image = Image.fromarray((255 * gray).round().astype(numpy.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known white, save it with 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _center(
    image: Image.Image, size: int, margin: float, resampling: Image.Resampling
) -> Image.Image:
    """The center, size × size, of the image resized until its shorter side is margin · size."""
    scale = round(size * margin) / min(image.size)
    width, height = (max(size, round(scale * side)) for side in image.size)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > max(2 * limit, image.width * image.height):
        raise ValueError(f"it would be resized to {width} × {height} pixels")
    left, top = (width - size) // 2, (height - size) // 2
    small = image.resize((width, height), resampling)
    return small.crop((left, top, left + size, top + size))


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
