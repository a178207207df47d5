"""Layers that PyTorch lacks, and what every model needs: evaluation mode, batches, a size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.nn import functional


class Shift(nn.Module):
    """Adds a constant to every pixel, for the input range of a paper's network."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        """Images of any shape, shifted."""
        return images + self.offset


class Maxout(nn.Module):
    """The largest of `pieces` linear maps, for each unit (Goodfellow et al. 2013)."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units = units
        self.linear = nn.Linear(inputs, units * pieces)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, inputs) to (N, units)."""
        return self.linear(features).unflatten(1, (self.units, -1)).amax(dim=2)


class ToOneChannel(nn.ConvTranspose2d):
    """A transposed convolution to one channel, as a matrix product and a fold.

    It takes half the time on a CPU, whose convolution computes sixteen channels and keeps one.
    Weights and shapes are the parent's.
    """

    def __init__(
        self, inputs: int, kernel: int, stride: int, padding: int = 0, output_padding: int = 0
    ) -> None:
        super().__init__(inputs, 1, kernel, stride, padding, output_padding)
        self._span = kernel - 2 * padding + output_padding

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Features (N, inputs, h, w) to (N, 1, H, W)."""
        stride, padding = self.stride[0], int(self.padding[0])
        shape = tuple((side - 1) * stride + self._span for side in features.shape[2:])
        patches = self.weight.flatten(1).T @ features.flatten(2)
        folded = functional.fold(patches, shape, self.kernel_size, 1, padding, stride)
        return folded if self.bias is None else folded + self.bias


def parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def eval_mode(*parts: object) -> Iterator[None]:
    """Put those parts that are modules in evaluation mode; restore each submodule's on exit.

    A frozen module has no mode, and an exported one keeps that of its export.
    """
    wholes = [part for part in parts if isinstance(part, nn.Module)]
    modes = {
        module: module.training
        for whole in wholes
        for module in whole.modules()
        if hasattr(module, "training")
    }
    for whole in wholes:
        with suppress(NotImplementedError):
            whole.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """Logits (N, classes) of images (N, C, H, W) in evaluation mode, batch by batch."""
    with eval_mode(model):
        return torch.cat([model(batch) for batch in images.split(batch_size)])
