"""The README's code runs as it stands, and its pictures are there and small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from armsrace import datasets
from armsrace.models import zoo
from armsrace.resources import CLONE

README = (CLONE / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_five_lines_run_on_a_readers_model_and_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        photograph = datasets.load("imagenet-samples").images[0]
        model = zoo.load("efficientnet-lite0")
    except (datasets.DatasetNotFound, zoo.CheckpointError):
        pytest.skip("the packages with photographs and a network for them are missing")
    pixels = (255 * photograph.permute(1, 2, 0)).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "photograph.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    (code,) = [block for block in BLOCKS if "photograph.jpg" in block]
    assert len([line for line in code.splitlines() if line]) == 5
    space: dict[str, object] = {"model": model}
    exec(compile(code, "README.md", "exec"), space)
    image, found = space["image"], space["found"]
    assert image.shape == (1, 3, 224, 224)
    assert found.success.all(), "an undefended network must be fooled by 2 of 255 levels"
    assert (found.images - image).abs().max() <= 2 / 255 + 1e-6
    with torch.no_grad():
        assert model(found.images).argmax(dim=1) != space["label"]
    assert "tensor" in capsys.readouterr().out


def test_what_the_library_section_shows_runs() -> None:
    (code,) = [block for block in BLOCKS if "robustness_curve" in block]
    space: dict[str, object] = {}
    exec(compile(code.replace("take(500)", "take(20)"), "README.md", "exec"), space)
    assert space["result"].success.any() and len(space["curve"].accuracies) == 4


def test_each_block_of_the_readme_is_tested() -> None:
    assert len(BLOCKS) == 2


def test_pictures_are_there_and_small() -> None:
    named = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert sorted(Path(name).name for name in named) == ["moving.webp", "picture.png"]
    for name in named:
        assert (CLONE / name).stat().st_size < 200_000
    with Image.open(CLONE / "book" / "_static" / "moving.webp") as moving:
        assert moving.n_frames > 10 and moving.width <= 900
