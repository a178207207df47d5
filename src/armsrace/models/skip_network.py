"""The hourglass with skip connections of Deep Image Prior, one for each image, side by side.

Ulyanov, Vedaldi and Lempitsky 2018, and the authors' code (`models/skip.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.contracts import check_count


class SkipNetwork(nn.Module):
    """N networks of one architecture and N sets of weights: codes (N, I, H, W) to (N, C, H, W).

    All convolutions are grouped, a group per image, and normalization is over one image alone, so
    that an image's output does not depend on the others. Output in [0, 1]. What belongs to image k
    is the k-th of N equal parts of each parameter's first dimension.

    Args:
        images: N.
        channels: C.
        inputs: I, the channels of a code; the authors' are 32.
        widths: the channels of each scale, from the finest on, each half as wide and high as the
            one before; the authors' are up to five of 16 to 128.
        skip: the channels of each shortcut past a scale; the authors' are 4.
    """

    def __init__(
        self,
        images: int,
        channels: int = 1,
        *,
        inputs: int = 32,
        widths: Sequence[int] = (32, 32, 32),
        skip: int = 4,
    ) -> None:
        super().__init__()
        check_count("widths", len(widths))
        for name, count in {"images": images, "channels": channels, "inputs": inputs}.items():
            check_count(name, count)
        self.images = images
        self.body = _Scale(images, inputs, widths, skip)
        self.last = _PixelByPixel(images, widths[0], channels)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (N, I, H, W) to images (N, C, H, W)."""
        images = self.last(self.body(codes.flatten(0, 1)[None])).sigmoid()
        return images[0].unflatten(0, (self.images, -1))


class _Scale(nn.Module):
    """One scale of the hourglass, with all coarser ones inside."""

    def __init__(self, images: int, inputs: int, widths: Sequence[int], skip: int) -> None:
        super().__init__()
        width, coarser = widths[0], widths[1:]
        self.images = images
        self.beside = _block(images, inputs, skip, 1)
        self.down = nn.Sequential(
            _block(images, inputs, width, 3, stride=2), _block(images, width, width, 3)
        )
        self.deeper = _Scale(images, width, coarser, skip) if coarser else nn.Identity()
        joined = skip + (coarser[0] if coarser else width)
        self.up = nn.Sequential(
            _normalization(images, joined),
            _block(images, joined, width, 3), _block(images, width, width, 1),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Features (1, N · inputs, H, W) to (1, N · width, H, W)."""
        beside, low = self.beside(features), self.deeper(self.down(features))
        low = functional.interpolate(low, features.shape[2:], mode="bilinear", align_corners=False)
        both = [part.unflatten(1, (self.images, -1)) for part in (beside, low)]
        joined: Tensor = self.up(torch.cat(both, dim=2).flatten(1, 2))
        return joined


class _PixelByPixel(nn.Conv2d):
    """A convolution of 1 × 1, a group per image, as one batched product.

    PyTorch's own goes group by group where channels are few. Weights and shapes are the parent's.
    """

    def __init__(self, images: int, inputs: int, outputs: int) -> None:
        super().__init__(images * inputs, images * outputs, 1, groups=images)

    def forward(self, features: Tensor) -> Tensor:
        """Features (1, N · inputs, H, W) to (1, N · outputs, H, W)."""
        each = features.view(self.groups, -1, features.shape[2] * features.shape[3])
        weights = self.weight.view(self.groups, -1, each.shape[1])
        assert self.bias is not None
        result = torch.baddbmm(self.bias.view(self.groups, -1, 1), weights, each)
        return result.view(1, -1, *features.shape[2:])


def _block(images: int, inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """A grouped convolution with normalization and leaky ReLU; channels per image."""
    convolution: nn.Conv2d
    if size == 1:
        convolution = _PixelByPixel(images, inputs, outputs)
    else:
        convolution = nn.Conv2d(
            images * inputs, images * outputs, size, stride, size // 2,
            groups=images, padding_mode="reflect",
        )  # fmt: skip
    return nn.Sequential(convolution, _normalization(images, outputs), nn.LeakyReLU(0.2))


def _normalization(images: int, channels: int) -> nn.BatchNorm2d:
    """Batch normalization per image."""
    # Over a "batch" of one: the statistics are those of one image, in training and after.
    return nn.BatchNorm2d(images * channels, track_running_stats=False)
