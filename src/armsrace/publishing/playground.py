"""Export for the playground in the browser: networks of the zoo in float32, and digits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from armsrace.datasets import embedded
from armsrace.models import zoo
from armsrace.models.abs_vae import ClassVaes
from armsrace.models.layers import parameters
from armsrace.publishing.playground_photographs import photographs
from armsrace.resources import replacing

NETWORKS = ("s3-cnn", "manifold-robust", "magnet-1")
SYNTHESIS = "abs"
STARTS = 30
"""Latents from which the browser's search begins, drawn from the prior."""
SIDE = 28
PER_CLASS = 10
Layer = dict[str, Any]


def export(folder: Path) -> Path:
    """Write what the playground computes with into a folder; return the path of `manifest.json`.

    `weights.bin` has the tensors of all networks one after another in PyTorch's layout, as
    little-endian float32: rounding to float16 would change the sign of many gradients.
    `digits.bin` is uint8, (100, 28, 28): the first ten of each class of the embedded digits, on
    which no network of the zoo was trained. The manifest lists each network's layers, where their
    numbers begin, and what its card says. `synthesis.bin` has the ten decoders of analysis by
    synthesis one after another, then the latents (STARTS, L) from which their search begins, as
    float16: it takes no signs of gradients, and is loaded on a click. `photographs.json` and the
    files it lists are loaded when a reader asks for photographs: the manifest has their size
    together, or what is missing.

    Raises:
        CheckpointError: weights are missing or damaged.
        DatasetNotFound, DatasetCorrupt: the embedded digits are missing or damaged.
        TypeError: a layer is unknown to the browser.
    """
    numbers: list[Tensor] = []
    networks = {name: _network(name, numbers) for name in NETWORKS}
    weights = torch.cat(numbers).numpy().astype("<f4").tobytes()
    images, labels = _digits()
    synthesis, decoders = _synthesis()
    files = {"weights.bin": weights, "digits.bin": images.tobytes(), "synthesis.bin": decoders}
    later, later_files = photographs()
    manifest = {
        "files": _listed(files),
        "labels": labels.tolist(),
        "networks": networks,
        "synthesis": synthesis,
        "photographs": {
            "missing": later.get("missing"),
            "samples": len(later.get("samples", ())),
            "bytes": sum(map(len, later_files.values())),
        },
    }
    later["files"] = _listed(later_files)
    files |= later_files
    for name, described in (("manifest.json", manifest), ("photographs.json", later)):
        files[name] = json.dumps(described, ensure_ascii=False, indent=1).encode()
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return folder / "manifest.json"


def _listed(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """The size and the checksum of each file."""
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }


def _network(name: str, numbers: list[Tensor]) -> dict[str, Any]:
    """The network's entry in the manifest; its weights are added to `numbers`."""
    card, model = zoo.card(name), zoo.load(name)
    return {
        "about": zoo.entry(name).about,
        "parameters": parameters(model),
        "test_accuracy": card.test_accuracy,
        "test_error": card.test_error,
        "test_images": card.test_images,
        "data": card.data,
        "checkpoint_sha256": card.sha256,
        "layers": layers(model, numbers),
    }


def _synthesis() -> tuple[dict[str, Any], bytes]:
    """What the browser must know of the ten decoders and their starts, and the numbers of both."""
    card = zoo.card(SYNTHESIS)
    vaes = cast(ClassVaes, zoo.load(SYNTHESIS))
    described: list[Layer] = []
    numbers: list[Tensor] = []
    for label in range(vaes.classes):
        own: list[Tensor] = []
        described = layers(class_decoder(vaes, label), own, side=1)
        numbers += own
    latents = torch.randn(2 * STARTS, vaes.latents, generator=torch.Generator().manual_seed(0))
    # The samples nearest to 0, without those that hardly any digit needs.
    likely = latents[latents.square().sum(dim=1).argsort(stable=True)[:STARTS].sort().values]
    content = torch.cat([*numbers, likely.flatten()]).numpy().astype("<f2")
    return {
        "classes": vaes.classes,
        "latents": vaes.latents,
        "starts": STARTS,
        "parameters": sum(map(len, numbers)),
        "checkpoint_sha256": card.sha256,
        "layers": described,
    }, content.tobytes()


def class_decoder(vaes: ClassVaes, label: int) -> nn.Sequential:
    """The decoder of one class as a network of its own, batch normalization folded into it.

    Args:
        vaes: in evaluation mode.
        label: the class.

    Returns:
        From latents (N, L, 1, 1) to images (N, 1, 28, 28).
    """
    parts: list[nn.Module] = []
    for part in vaes.decoder:
        if isinstance(part, nn.ConvTranspose2d):
            parts.append(_one_group(part, label))
        elif isinstance(part, nn.BatchNorm2d):
            layer = cast(nn.ConvTranspose2d, parts[-1])
            parts[-1] = fuse_conv_bn_eval(layer, _one_part(part, label, vaes.classes), True)
        else:
            parts.append(part)
    return nn.Sequential(*parts, nn.Sigmoid()).eval()


def _one_group(layer: nn.ConvTranspose2d, group: int) -> nn.ConvTranspose2d:
    """One group of a grouped transposed convolution."""
    inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    assert layer.bias is not None, "built with one"
    one = nn.ConvTranspose2d(inputs, outputs, cast(Any, layer.kernel_size), cast(Any, layer.stride))
    one.load_state_dict({
        "weight": layer.weight.detach()[group * inputs :][:inputs],
        "bias": layer.bias.detach()[group * outputs :][:outputs],
    })  # fmt: skip
    return one.eval()


def _one_part(norm: nn.BatchNorm2d, label: int, classes: int) -> nn.BatchNorm2d:
    """The batch normalization of one class's channels."""
    own = norm.num_features // classes
    one = nn.BatchNorm2d(own, eps=norm.eps)
    state = norm.state_dict()
    one.load_state_dict({
        name: value[label * own :][:own] if value.ndim else value for name, value in state.items()
    })  # fmt: skip
    return one.eval()


def layers(model: nn.Module, numbers: list[Tensor], side: int = SIDE) -> list[Layer]:
    """A sequential network's layers in the browser's terms; weights are added to `numbers`.

    A dense layer on features (C, H, W) is a convolution with an H × W kernel. Raises TypeError for
    a layer that is unknown to the browser.

    Args:
        model: the network.
        numbers: the weights so far.
        side: height and width of the images.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"the playground's networks must be nn.Sequential, got {type(model)}")
    found: list[Layer] = []
    for part in model.children():
        if isinstance(part, nn.Conv2d):
            _check(part, part.kernel_size[0] == part.kernel_size[1], "a square kernel")
            _check(part, part.groups == 1 and part.dilation == (1, 1), "no groups, no dilation")
            kernel, stride, padding = part.kernel_size[0], part.stride[0], int(part.padding[0])
            found.append(_convolution(part, numbers, side, kernel, stride, padding))
            side = (side + 2 * padding - kernel) // stride + 1
        elif isinstance(part, nn.Linear):
            found.append(_convolution(part, numbers, side, side, 1, 0))
            side = 1
        elif isinstance(part, nn.AvgPool2d):
            _check(part, part.kernel_size == part.stride, "a stride as wide as its window")
            size = cast(int, part.kernel_size)
            found.append({"kind": "average", "side": side, "size": size})
            side //= size
        elif isinstance(part, nn.Upsample):
            _check(part, part.mode == "nearest", "the mode nearest")
            size = int(cast(float, part.scale_factor))
            found.append({"kind": "repeat", "side": side, "size": size})
            side *= size
        elif isinstance(part, nn.ConvTranspose2d):
            _check(part, part.kernel_size[0] == part.kernel_size[1], "a square kernel")
            _check(part, part.groups == 1 and part.dilation == (1, 1), "no groups, no dilation")
            _check(part, part.output_padding == (0, 0), "no output padding")
            kernel, stride, padding = part.kernel_size[0], part.stride[0], int(part.padding[0])
            found.append(_convolution(part, numbers, side, kernel, stride, padding))
            side = (side - 1) * stride - 2 * padding + kernel
        elif isinstance(part, nn.ReLU | nn.ELU | nn.Sigmoid):
            _check(part, getattr(part, "alpha", 1.0) == 1, "alpha 1")
            found.append({"kind": type(part).__name__.lower(), "side": side})
        elif not isinstance(part, nn.Flatten):
            raise TypeError(f"the playground has no layer {type(part).__name__}")
    return found


def _check(part: nn.Module, holds: bool, rule: str) -> None:
    """Raise TypeError unless a rule of the browser's layers holds."""
    if not holds:
        raise TypeError(f"the playground's {type(part).__name__} must have {rule}, got {part}")


def _convolution(
    part: nn.Conv2d | nn.ConvTranspose2d | nn.Linear,
    numbers: list[Tensor],
    side: int,
    kernel: int,
    stride: int,
    padding: int,
) -> Layer:
    """Its sizes, and where in `numbers` its weights begin, in PyTorch's layout.

    That is (outputs, inputs, kernel, kernel); (inputs, outputs, kernel, kernel) if transposed.
    """
    weight = part.weight.detach()
    transposed = isinstance(part, nn.ConvTranspose2d)
    outputs, inputs = len(weight), weight[0].numel() // kernel**2
    if transposed:
        outputs, inputs = inputs, outputs
    bias = torch.zeros(outputs) if part.bias is None else part.bias.detach()
    begin = sum(len(known) for known in numbers)
    numbers += [weight.contiguous().flatten(), bias]
    return {
        "kind": "transposed" if transposed else "convolution", "side": side,
        "inputs": inputs, "outputs": outputs, "kernel": kernel,
        "stride": stride, "padding": padding, "begin": begin,
    }  # fmt: skip


def _digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The first ten of each class (100, 28, 28), in ten sets from 0 to 9, and their classes."""
    images, labels = embedded.digits()
    rows = np.stack([np.flatnonzero(labels == digit)[:PER_CLASS] for digit in range(10)], axis=1)
    return images[rows.ravel()], labels[rows.ravel()]
