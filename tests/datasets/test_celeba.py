"""CelebA's loader, on faces that the tests draw: right labels, right crop, clear errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from armsrace.datasets import Dataset, DatasetCorrupt, DatasetNotFound, celeba
from armsrace.training.loop import fit
from armsrace.training.recipe import Recipe, one_cycle

MALE = (True, False, False, True, True, False)
HEADER = "Bald Male Young"


def a_face(male: bool) -> Image.Image:
    """178 × 218, grey, with a coloured middle of 128 × 128: red, or blue for those not male."""
    face = Image.new("RGB", (178, 218), (128, 128, 128))
    face.paste((255, 0, 0) if male else (0, 0, 255), (25, 45, 153, 173))
    return face


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    rows = [str(len(MALE)), HEADER]
    for number, male in enumerate(MALE, start=1):
        a_face(male).save(folder / f"{number:06d}.png")
        rows.append(f"{number:06d}.png  1 {1 if male else -1} -1")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_faces_are_cut_and_labelled(root: Path) -> None:
    faces = celeba(root, count=6)
    assert faces.images.shape == (6, 3, 64, 64) and faces.images.dtype == torch.float32
    assert faces.labels.tolist() == [1, 0, 0, 1, 1, 0] and faces.labels.dtype == torch.int64
    assert faces.classes[1] == "male"
    inner = faces.images[:, :, 2:-2, 2:-2]
    colours = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])[faces.labels]
    torch.testing.assert_close(inner, colours[:, :, None, None].expand_as(inner))


def test_numbers_choose_the_pictures(root: Path) -> None:
    faces = celeba(root, first=2, count=2, size=32)
    assert [file.name for file in faces.files] == ["000003.png", "000004.png"]
    assert faces.labels.tolist() == [0, 1] and faces.images.shape == (2, 3, 32, 32)


def test_a_classifier_trains_on_them(root: Path) -> None:
    faces = celeba(root, count=6, size=16)
    data = Dataset(faces.images, faces.labels, "celeba", "train", "unverified", root)
    recipe = Recipe(10, 6, torch.optim.Adam, one_cycle(0.02), "")
    model, _ = fit(lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), data, recipe)
    with torch.no_grad():
        assert torch.equal(model(faces.images).argmax(dim=1), faces.labels)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"first": -1}, "first must be >= 0, got -1"),
        ({"count": 0}, "count must be >= 1, got 0"),
        ({"size": 1.5}, "size must be an integer, got 1.5"),
        ({"first": 4, "count": 3}, "first + count must be within the list, got 4 + 3"),
    ],
)
def test_bad_options_are_named(root: Path, options, rule: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(rule)):
        celeba(root, **options)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1\nBald Young\na.png 1 1\n", "must name the attribute Male in its second line"),
        ("", "must name the attribute Male"),
        (f"1\n{HEADER}\na.png 1 1\n", "must hold a name and 3 marks in line 3"),
        (f"1\n{HEADER}\na.png 1 0 1\n", "must hold a name and 3 marks in line 3"),
    ],
)
def test_a_bad_list_is_named(root: Path, text: str, rule: str) -> None:
    (root / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(DatasetCorrupt, match=rule):
        celeba(root, count=1)


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    picture = root / "img_align_celeba" / "000002.png"
    picture.write_bytes(b"no picture")
    with pytest.raises(DatasetCorrupt, match=r"000002.png is not a readable image"):
        celeba(root, count=3)
    picture.unlink()
    with pytest.raises(DatasetNotFound, match=r"000002.png is in the list and not in the folder"):
        celeba(root, count=3)
    with pytest.raises(DatasetNotFound, match="CelebA's attributes are not at"):
        celeba(tmp_path / "elsewhere")
