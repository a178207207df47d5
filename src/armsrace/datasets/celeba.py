"""CelebA's gender task, from the reader's own disk: faces, and whether they are marked as male."""

from __future__ import annotations

from pathlib import Path

import torch

from armsrace.contracts import check_count
from armsrace.datasets.folders import Pictures, picture
from armsrace.datasets.sources import DatasetCorrupt, DatasetNotFound

ATTRIBUTES, FOLDER, MALE = "list_attr_celeba.txt", "img_align_celeba", "Male"
CROP = 128
"""The side, in pixels of a file of 178 × 218, of the middle that is kept."""


def celeba(root: Path | str, *, first: int = 0, count: int = 10_000, size: int = 64) -> Pictures:
    """CelebA's aligned faces, class 1 where the attribute "Male" is 1, else class 0.

    root: the folder with `list_attr_celeba.txt` and `img_align_celeba/`, as the authors of CelebA
        publish them. Their split trains on numbers 0 to 162,769 and tests from 182,637 on.
    first, count: which pictures, in the list's order, numbered from 0: 10,000 of size 64 take half
        a gigabyte.
    size: the side in pixels: the middle 128 × 128 of each file is brought to it, a face without
        the shoulders.

    Raises DatasetNotFound where the list or a picture is missing, DatasetCorrupt where the list
    has no such attribute or a row of another length or value, or a file is no picture, and
    ValueError where first is negative, a count below 1, or the list is shorter.
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
    """The file names of the list and whether each is marked as male."""
    if not path.is_file():
        raise DatasetNotFound(f"CelebA's attributes are not at {path}")
    lines = path.read_text().splitlines()
    names = lines[1].split() if len(lines) > 1 else []
    if MALE not in names:
        raise DatasetCorrupt(f"{path} must name the attribute {MALE} in its second line")
    place = names.index(MALE) + 1
    found = []
    for number, line in enumerate(lines[2:], start=3):
        row = line.split()
        if len(row) != len(names) + 1 or row[place] not in ("1", "-1"):
            raise DatasetCorrupt(f"{path} must hold a name and {len(names)} marks in line {number}")
        found.append((row[0], row[place] == "1"))
    return found
