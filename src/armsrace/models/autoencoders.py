"""Autoencoders: images (N, C, H, W) in [0, 1] to images of the same shape.

MagNet's two for MNIST (Meng and Chen 2017; the authors' `train_defense.py`): 3×3 convolutions of
three filters that keep the size, each followed by a sigmoid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer, nn.Sigmoid()


def magnet_1(width: int = 3) -> nn.Sequential:
    """MagNet's autoencoder I: its code is half as wide and high as the image, in `width` channels.

    Images (N, 1, H, W), H and W even. Trained by the squared error, it is detector I and reformer.
    """
    return nn.Sequential(
        *_convolution(1, width), nn.AvgPool2d(2), *_convolution(width, width),
        *_convolution(width, width), nn.Upsample(scale_factor=2), *_convolution(width, width),
        *_convolution(width, 1),
    )  # fmt: skip


def magnet_2(width: int = 3) -> nn.Sequential:
    """MagNet's autoencoder II: three convolutions and no bottleneck, of detector II."""
    return nn.Sequential(
        *_convolution(1, width), *_convolution(width, width), *_convolution(width, 1)
    )


class Team(nn.ModuleList):
    """Autoencoders that are trained together: `team[k]` is one of them.

    Images (N, 1, H, W) to their reconstructions (N, size, H, W), one a channel.
    """

    def __init__(self, size: int = 8, build: Callable[[], nn.Module] = magnet_1) -> None:
        super().__init__(build() for _ in range(size))

    def forward(self, images: Tensor) -> Tensor:
        """All reconstructions, side by side."""
        return torch.cat([member(images) for member in self], dim=1)
