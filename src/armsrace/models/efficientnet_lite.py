"""EfficientNet-Lite0, a classifier of photographs whose ImageNet weights come as a package.

Lite is Google's variant for phones (Liu 2020): EfficientNet-B0 without squeeze-and-excitation, with
ReLU6 in place of swish.

References:
    Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks",
    Table 1. Sandler et al. 2018, "MobileNetV2", Figure 4, for the block MBConv.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

# Expansion, channels, blocks, kernel, stride: the rows of Tan and Le's Table 1.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
STEM, HEAD = 32, 1280
"""Lite scales neither the first nor the last convolution."""


def efficientnet_lite0(classes: int = 1000) -> nn.Sequential:
    """EfficientNet-Lite0: images (N, 3, H, W) in [0, 1], usually 224 × 224, to logits."""
    layers: list[nn.Module] = [_Normalize(), *_activated(3, STEM, 3, stride=2)]
    inputs = STEM
    for expansion, outputs, blocks, kernel, stride in STAGES:
        for block in range(blocks):
            # The first block of a stage changes resolution and channels.
            layers.append(MBConv(inputs, outputs, expansion, kernel, 1 if block else stride))
            inputs = outputs
    return nn.Sequential(
        *layers, *_activated(inputs, HEAD, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(HEAD, classes),
    )  # fmt: skip


class MBConv(nn.Module):
    """The inverted residual block: features (N, inputs, H, W) to (N, outputs, H/stride, W/stride).

    A 1×1 convolution expands the channels, a depthwise convolution filters each by itself, and a
    1×1 convolution projects them back, without an activation.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = expansion * inputs
        self.layers = nn.Sequential(
            *(_activated(inputs, width, 1) if expansion > 1 else ()),
            *_activated(width, width, kernel, stride, groups=width),
            *_normalized(width, outputs, 1),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """The block's output, with its input added where the shapes agree."""
        transformed: Tensor = self.layers(features)
        return features + transformed if self.shortcut else transformed


class _Normalize(nn.Module):
    """Pixels in [0, 1] to (255 x − 127) / 128, as the weights were trained."""

    def forward(self, images: Tensor) -> Tensor:
        return (255 * images - 127) / 128


class _SamePadding(nn.Conv2d):
    """A strided convolution with TensorFlow's padding: an odd pixel is added at the end.

    With PyTorch's symmetric padding all features would shift, and the weights lose accuracy.
    """

    def forward(self, features: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in features.shape[2:]
        )
        around = [width // 2, width - width // 2, height // 2, height - height // 2]
        return super().forward(functional.pad(features, around))


def _normalized(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, ...]:
    """A convolution without bias, and batch normalization with the ε of the authors' code."""
    if stride == 1:
        same = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    else:
        same = _SamePadding(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return same, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)


def _activated(*shape: int, **options: int) -> tuple[nn.Module, ...]:
    """The same with ReLU6."""
    return *_normalized(*shape, **options), nn.ReLU6(inplace=True)
