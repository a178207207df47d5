"""Pictures on disk: classes by name, the middle cut out, and files that are none."""

import io
import struct
from pathlib import Path

import numpy as np
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


def test_hidden_folders_and_files_are_no_classes_and_no_pictures(root) -> None:
    for hidden in (".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir"):
        write(root / hidden / "a.png", (1, 2, 3))
    write(root / "ant" / ".ipynb_checkpoints" / "c.png", (1, 2, 3))
    (root / "ant" / "._c.png").write_bytes(b"what macOS leaves on foreign disks")
    found = datasets.image_folder(root, size=8)
    assert found.classes == ("ant", "newt") and found.labels.tolist() == [0, 1, 1]


def test_a_root_below_a_hidden_folder_is_no_hidden_class(root) -> None:
    root.rename(root.parent / ".cache")
    assert len(datasets.image_folder(root.parent / ".cache", size=8).images) == 3


def test_an_empty_class_is_refused_by_name_or_keeps_its_number(root) -> None:
    (root / "bee").mkdir()
    (root / "cow" / "deeper").mkdir(parents=True)
    write(root / "cow" / "deeper" / "c.png", (1, 2, 3))
    with pytest.raises(DatasetNotFound, match=r"no images in the classes bee, cow.*allow_empty"):
        datasets.image_folder(root, size=8)
    found = datasets.image_folder(root, size=8, allow_empty=True)
    assert found.classes == ("ant", "bee", "cow", "newt")
    assert found.labels.tolist() == [0, 3, 3]


def one_picture(root: Path) -> torch.Tensor:
    """The only picture of the only class, 8 × 8."""
    (image,) = datasets.image_folder(root, size=8).images
    return image


def save(root: Path, image: Image.Image, name: str = "a.png", **options: object) -> None:
    (root / "one").mkdir(exist_ok=True)
    image.save(root / "one" / name, **options)


GRAYS = (0, 100, 12_800, 32_768, 65_535)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
@pytest.mark.parametrize("value", GRAYS)
def test_sixteen_bits_of_gray_are_scaled(tmp_path, name: str, value: int) -> None:
    save(tmp_path, Image.fromarray(np.full((9, 9), value, dtype=np.uint16)), name)
    expected = torch.full((3, 8, 8), value / 65_535)
    assert torch.allclose(one_picture(tmp_path), expected, atol=0.6 / 255)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_known_white_are_refused(tmp_path, dtype) -> None:
    save(tmp_path, Image.fromarray(np.full((9, 9), 1, dtype=dtype)), "a.tif")
    with pytest.raises(DatasetCorrupt, match=r"one/a\.tif is not a readable image.*mode [IF] "):
        one_picture(tmp_path)


def corners(image: torch.Tensor) -> list[int]:
    """Which corners are red: top left, top right, bottom left, bottom right."""
    return [int(image[0, y, x] > 0.5) for y in (0, -1) for x in (0, -1)]


@pytest.mark.parametrize(
    ("orientation", "red"), [(1, 0), (2, 1), (3, 3), (4, 2), (5, 0), (6, 1), (7, 3), (8, 2)]
)
def test_the_camera_s_orientation_is_applied(tmp_path, orientation: int, red: int) -> None:
    image = Image.new("RGB", (64, 64))
    image.paste((255, 0, 0), (0, 0, 24, 24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path, image, "a.jpg", exif=exif)
    assert corners(one_picture(tmp_path)) == [int(place == red) for place in range(4)]


def transparent(mode: str) -> tuple[Image.Image, dict[str, object]]:
    """A picture that is black and transparent everywhere, and how to save it."""
    if mode in ("RGBA", "LA"):
        return Image.new(mode, (9, 9)), {}
    black: object = b"\x00" if mode == "P" else (0, 0, 0) if mode == "RGB" else 0
    return Image.new(mode, (9, 9)), {"transparency": black}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_is_white(tmp_path, mode: str) -> None:
    image, options = transparent(mode)
    save(tmp_path, image, **options)
    assert torch.equal(one_picture(tmp_path), torch.ones(3, 8, 8))


def test_what_is_half_transparent_is_half_white(tmp_path) -> None:
    save(tmp_path, Image.new("RGBA", (9, 9), (255, 0, 0, 51)))
    expected = torch.tensor([1, 0.8, 0.8])[:, None, None].expand(3, 8, 8)
    assert torch.allclose(one_picture(tmp_path), expected, atol=0.6 / 255)


def test_palettes_inks_and_two_levels_have_their_colors(tmp_path) -> None:
    color = (51, 102, 204)
    whole = Image.new("RGB", (9, 9), color)
    expected = torch.tensor(color)[:, None, None].expand(3, 8, 8) / 255
    for image, name in (
        (whole.quantize(4), "a.png"), (whole.quantize(4), "a.gif"), (whole.quantize(4), "a.bmp"),
        (whole.convert("CMYK"), "a.jpg"), (whole.convert("CMYK"), "a.tif"),
    ):  # fmt: skip
        save(tmp_path, image, name)
        assert torch.allclose(one_picture(tmp_path), expected, atol=4 / 255), name
        (tmp_path / "one" / name).unlink()
    save(tmp_path, Image.new("1", (9, 9), 1))
    assert torch.equal(one_picture(tmp_path), torch.ones(3, 8, 8))


def content(name: str, **options: object) -> bytes:
    """The content of a file of random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, Image.registered_extensions()[Path(name).suffix], **options)
    return file.getvalue()


def header(width: int, height: int) -> bytes:
    """A PNG that claims to be of this size."""
    png = content("a.png")
    return png[:16] + struct.pack(">II", width, height) + png[24:]


BROKEN = {
    "empty.png": b"",
    "text.jpg": b"<html>404 Not Found</html>",
    "bomb.png": header(60_000, 60_000),
    "checksum.png": header(31, 32),
    "cut.png": content("a.png")[:700],
    "cut.jpg": content("a.jpg")[:700],
    "cut.bmp": content("a.bmp")[:700],
    "cut.webp": content("a.webp")[:300],
    "cut.tif": content("a.tif")[:300],
    "cut.ppm": content("a.ppm")[:700],
    "letters.ppm": b"P6 a b 255\n",
    "zero.ppm": b"P6 3 3 0\n" + bytes(27),
    "large.ppm": b"P3 2 2 255\n 1 2 999999",
    "long.ppm": b"P6 " + b"1" * 5000 + b" 3 255\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_file_is_named(root, name: str) -> None:
    (root / "ant" / name).write_bytes(BROKEN[name])
    with pytest.raises(DatasetCorrupt, match=f"ant/{name} is not a readable image"):
        datasets.image_folder(root, size=8)


def test_a_line_that_would_grow_into_gigabytes_is_refused_by_name(tmp_path) -> None:
    save(tmp_path, Image.new("L", (200_000, 1)))
    with pytest.raises(DatasetCorrupt, match=r"one/a\.png is not a readable image.*resized to"):
        datasets.image_folder(tmp_path)
