"""Pictures on disk: classes by name, the middle cut out, and files that are none."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from armsrace import datasets
from armsrace.datasets import DatasetCorrupt, DatasetNotFound


def write(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> None:
    """A picture of one color with a blue margin left and right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, (0, 0, 255))
    picture.paste(color, (size[0] // 4, 0, size[0] - size[0] // 4, size[1]))
    picture.save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "newt" / "b.png", (255, 0, 0))
    write(tmp_path / "newt" / "a.png", (0, 255, 0))
    write(tmp_path / "ant" / "c.PNG", (51, 102, 153), (64, 64))
    (tmp_path / "ant" / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_classes_and_files_come_by_name(root) -> None:
    found = datasets.image_folder(root, size=16)
    assert found.classes == ("ant", "newt")
    assert [file.name for file in found.files] == ["c.PNG", "a.png", "b.png"]
    assert found.labels.tolist() == [0, 1, 1] and found.labels.dtype == torch.int64
    assert found.images.shape == (3, 3, 16, 16) and found.images.dtype == torch.float32


def test_the_middle_is_cut_out(root) -> None:
    ant, green, red = datasets.image_folder(root, size=14).images[:, :, 7, 7]
    assert torch.allclose(ant, torch.tensor([0.2, 0.4, 0.6]))
    assert torch.equal(green, torch.tensor([0.0, 1, 0]))
    assert torch.equal(red, torch.tensor([1.0, 0, 0]))


def test_the_margin_is_what_imagenets_networks_expect(tmp_path) -> None:
    gradient = Image.linear_gradient("L").resize((256, 256)).convert("RGB")
    (tmp_path / "one").mkdir()
    gradient.save(tmp_path / "one" / "g.png")
    (image,) = datasets.image_folder(tmp_path).images
    assert image.shape == (3, 224, 224)
    assert image[0, 0, 0].item() == pytest.approx(16 / 255, abs=1.5 / 255)


def test_so_many_of_each_class(root) -> None:
    found = datasets.image_folder(root, size=8, a_class=1)
    assert [file.name for file in found.files] == ["c.PNG", "a.png"]


def test_an_empty_folder_is_named(tmp_path) -> None:
    with pytest.raises(DatasetNotFound, match="must hold one folder per class"):
        datasets.image_folder(tmp_path / "nowhere")


def test_a_broken_picture_is_named(root) -> None:
    (root / "ant" / "d.jpg").write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(DatasetCorrupt, match=r"d\.jpg is not a readable image"):
        datasets.image_folder(root)


@pytest.mark.parametrize("counts", [{"size": 0}, {"a_class": 0}])
def test_counts_are_positive(root, counts) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(counts))} must be >= 1"):
        datasets.image_folder(root, **counts)
