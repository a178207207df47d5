"""The playground's files say the same as the zoo; the browser's side is in tests/site."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from armsrace import cli
from armsrace.models import zoo
from armsrace.publishing import playground
from armsrace.resources import CLONE

LARGEST = 1_500_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return playground.export(tmp_path_factory.mktemp("playground")).parent


@pytest.fixture(scope="module")
def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def digits(folder: Path) -> Tensor:
    pixels = np.fromfile(folder / "digits.bin", np.uint8)
    return torch.tensor(pixels.reshape(-1, 1, 28, 28) / 255, dtype=torch.float32)


def recomputed(images: Tensor, layers: list[dict[str, Any]], numbers: Tensor) -> Tensor:
    """The network's answer, from nothing but the exported files."""
    for layer in layers:
        if layer["kind"] == "convolution":
            shape = layer["outputs"], layer["inputs"], layer["kernel"], layer["kernel"]
            middle = layer["begin"] + int(np.prod(shape))
            weight = numbers[layer["begin"] : middle].view(shape)
            bias = numbers[middle : middle + layer["outputs"]]
            assert images.shape[-1] == layer["side"]
            images = functional.conv2d(images, weight, bias, layer["stride"], layer["padding"])
        elif layer["kind"] == "transposed":
            shape = layer["inputs"], layer["outputs"], layer["kernel"], layer["kernel"]
            middle = layer["begin"] + int(np.prod(shape))
            weight = numbers[layer["begin"] : middle].view(shape)
            bias = numbers[middle : middle + layer["outputs"]]
            assert images.shape[-1] == layer["side"]
            images = functional.conv_transpose2d(
                images, weight, bias, layer["stride"], layer["padding"]
            )
        elif layer["kind"] == "elu":
            images = functional.elu(images)
        elif layer["kind"] == "average":
            images = functional.avg_pool2d(images, layer["size"])
        elif layer["kind"] == "repeat":
            images = functional.interpolate(images, scale_factor=layer["size"])
        else:
            images = getattr(torch, layer["kind"])(images)
    return images


@pytest.mark.parametrize("name", playground.NETWORKS)
def test_files_hold_the_whole_network(folder, manifest, digits, name: str) -> None:
    network = manifest["networks"][name]
    numbers = torch.tensor(np.fromfile(folder / "weights.bin", "<f4"))
    with torch.no_grad():
        expected = zoo.load(name)(digits)
        found = recomputed(digits, network["layers"], numbers)
    torch.testing.assert_close(found.view_as(expected), expected, atol=1e-5, rtol=1e-5)
    card = zoo.card(name)
    assert network["checkpoint_sha256"] == card.sha256
    assert network["test_accuracy"] == card.test_accuracy
    assert network["parameters"] == card.parameters


def test_synthesis_has_the_ten_decoders_and_starts_for_their_search(folder, manifest) -> None:
    described = manifest["synthesis"]
    classes, latents = described["classes"], described["latents"]
    numbers = torch.tensor(np.fromfile(folder / "synthesis.bin", "<f2").astype("f4"))
    decoders, starts = numbers[: described["parameters"]], numbers[described["parameters"] :]
    starts = starts.view(described["starts"], latents)
    assert (starts.norm(dim=1) < 3.5).all() and len(starts.unique(dim=0)) == len(starts) >= 20
    own = decoders.view(classes, -1)
    drawn = torch.cat([
        recomputed(starts[..., None, None], described["layers"], own[label])
        for label in range(classes)
    ], dim=1)  # fmt: skip
    with torch.no_grad():
        expected = zoo.load("abs").decode(starts[:, None].expand(-1, classes, -1))
    # The browser has its numbers in float16.
    assert drawn.shape == (described["starts"], classes, 28, 28)
    assert (drawn - expected).abs().max() < 0.01
    assert drawn.std(dim=0).mean() > 0.1, "the decoders must draw different digits"
    assert described["checkpoint_sha256"] == zoo.card("abs").sha256


def test_digits_are_ten_of_each_class_and_are_read_right(manifest, digits) -> None:
    labels = torch.tensor(manifest["labels"])
    assert labels.tolist() == list(range(10)) * playground.PER_CLASS
    assert len({row.numpy().tobytes() for row in digits}) == len(digits) == len(labels)
    with torch.no_grad():
        assert (zoo.load("s3-cnn")(digits).argmax(dim=1) == labels).float().mean() > 0.95


def test_manifest_has_each_files_size_and_checksum(folder: Path, manifest) -> None:
    for name, file in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    page = CLONE / "book" / "_static" / "playground"
    files = [folder / "manifest.json", *map(folder.joinpath, manifest["files"]), *page.iterdir()]
    assert sum(path.stat().st_size for path in files) < LARGEST


def test_command_writes_the_same_bytes_again(folder: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(cli.app, ["playground", str(tmp_path)], env={"COLUMNS": "300"})
    assert outcome.exit_code == 0, outcome.output
    assert str(tmp_path) in outcome.stdout
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Softplus(), "has no layer Softplus"),
        (nn.Conv2d(1, 1, (3, 5)), "Conv2d must have a square kernel"),
        (nn.Conv2d(2, 2, 3, groups=2), "Conv2d must have no groups"),
        (nn.AvgPool2d(3, 2), "AvgPool2d must have a stride as wide"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "Upsample must have the mode nearest"),
        (nn.ConvTranspose2d(2, 2, 3, groups=2), "ConvTranspose2d must have no groups"),
        (nn.ConvTranspose2d(2, 2, 3, 2, output_padding=1), "must have no output padding"),
        (nn.ELU(alpha=0.5), "ELU must have alpha 1"),
    ],
)
def test_layer_that_the_browser_does_not_know_is_refused(layer: nn.Module, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        playground.layers(nn.Sequential(layer), [])
