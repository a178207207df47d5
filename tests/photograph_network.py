"""The playground's network of photographs in PyTorch, from nothing but the exported files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Exported(nn.Module):
    """Images (N, 3, H, W) in [0, 1] to logits, as the browser computes them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        description = json.loads((folder / "photographs.json").read_text(encoding="utf-8"))
        content = (folder / "photograph_weights.bin").read_bytes()
        border = 4 * description["biases"]
        self.layers = description["layers"]
        self.biases = torch.tensor(np.frombuffer(content[:border], "<f4"))
        self.weights = torch.tensor(np.frombuffer(content[border:], "<f2").astype(np.float32))

    def forward(self, images: Tensor) -> Tensor:
        taken = [0, 0]
        logits = self._through(self.layers, (255 * images - 127) / 128, taken)
        assert taken == [len(self.biases), len(self.weights)], "every number is some layer's"
        return logits.flatten(1)

    def _through(self, layers: list[dict[str, Any]], features: Tensor, taken: list[int]) -> Tensor:
        for layer in layers:
            if layer["kind"] == "block":
                through = self._through(layer["layers"], features, taken)
                features = through + features if layer["shortcut"] else through
                continue
            assert features.shape[-1] == layer["side"]
            if layer["kind"] == "mean":
                features = features.mean(dim=(2, 3), keepdim=True)
            else:
                features = self._convolved(layer, features, taken)
        return features

    def _convolved(self, layer: dict[str, Any], features: Tensor, taken: list[int]) -> Tensor:
        groups = layer["inputs"] if layer["kind"] == "depthwise" else 1
        kernel, stride = layer.get("kernel", 1), layer.get("stride", 1)
        shape = (layer["outputs"], layer["inputs"] // groups, kernel, kernel)
        bias, weight = taken[0] + shape[0], taken[1] + int(np.prod(shape))
        size, before = layer.get("size", layer["side"]), layer.get("before", 0)
        after = (size - 1) * stride + kernel - layer["side"] - before
        features = functional.conv2d(
            functional.pad(features, [before, max(after, 0)] * 2),
            self.weights[taken[1] : weight].view(shape), self.biases[taken[0] : bias],
            stride, groups=groups,
        )  # fmt: skip
        taken[:] = bias, weight
        return functional.relu6(features) if layer["activated"] else features


def loss_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K), and the gradient of each image's cross-entropy with respect to it."""
    images = images.clone().requires_grad_()
    logits = model(images)
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    return logits.detach(), torch.autograd.grad(loss, images)[0]


def firm_signs(gradient: Tensor, expected: Tensor) -> float:
    """The fraction of equal signs where the expected gradient is above 1 % of its steepest."""
    expected, gradient = expected.flatten(1), gradient.flatten(1)
    firm = expected.abs() > 0.01 * expected.abs().amax(dim=1, keepdim=True)
    return float((gradient.sign() == expected.sign())[firm].double().mean())
