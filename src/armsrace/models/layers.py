"""Layers that PyTorch lacks, and what every model needs: a batched forward pass and a size."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Shift(nn.Module):
    """Adds a constant to every pixel: the input range that a paper's network was given."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        """Images of any shape, shifted."""
        return images + self.offset


class Maxout(nn.Module):
    """The greatest of `pieces` linear maps, unit by unit (Goodfellow et al. 2013)."""

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.units = units
        self.linear = nn.Linear(inputs, units * pieces)

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, inputs) to (N, units)."""
        return self.linear(features).unflatten(1, (self.units, -1)).amax(dim=2)


def parameters(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.inference_mode()
def predict(model: nn.Module, images: Tensor, batch_size: int = 1000) -> Tensor:
    """Logits (N, classes) of images (N, C, H, W) in evaluation mode, batch by batch."""
    # A wrapper in training mode may hold a network that is not.
    modes = {part: part.training for part in model.modules()}
    model.eval()
    logits = torch.cat([model(batch) for batch in images.split(batch_size)])
    for part, training in modes.items():
        part.training = training
    return logits
