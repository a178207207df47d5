"""The decoders of `ClassVaes` made quick: normalisation folded in, and slopes in the latents."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from armsrace.models.class_vaes import ClassVaes

BLOCK = 4
"""Pixels on a side that one place of the last convolution draws: its kernel's width."""
CHUNK = 4
"""Images whose slopes are drawn at once: what they take is used again, while it is in the cache."""


class ClassDecoders(nn.Module):
    """What the K decoders of a trained `ClassVaes` draw, without a gradient in their weights.

    classes: K. latents: L. Images are flat: P = 784 pixels in [0, 1].
    Batch normalisation, in evaluation mode, is folded into the convolutions. The last layer, with
    its one filter, is computed as a convolution of stride 4 that draws 16 pixels at each place: a
    CPU's kernels fill 16 channels anyway (measured: a quarter of the time).
    """

    def __init__(self, vaes: ClassVaes) -> None:
        super().__init__()
        self.classes, self.latents = vaes.classes, vaes.latents
        layers = list(vaes.decoder)
        first, second, third = (
            _folded(layers[at], layers[at + 1], vaes.classes) for at in (0, 3, 6)
        )
        # (K, L, places · filters), channels last as the convolutions want their input.
        grouped = first[0].view(self.classes, self.latents, -1, 4, 4).permute(0, 1, 3, 4, 2)
        self._keep("weight_1", grouped.flatten(2))
        self._keep("bias_1", first[1].view(self.classes, 1, -1).repeat(1, 1, 16))
        for number, (weight, bias) in ((2, second), (3, third)):
            self._keep(f"weight_{number}", weight.to(memory_format=torch.channels_last))
            self._keep(f"bias_{number}", bias)
        last = cast(nn.ConvTranspose2d, layers[-1])
        assert last.bias is not None, "built with one"
        self._keep("weight_4", _blocks(last.weight).to(memory_format=torch.channels_last))
        self._keep("bias_4", last.bias.repeat_interleave(BLOCK * BLOCK))

    def draw(self, latents: Tensor) -> Tensor:
        """Images (N, K, P) of latents (N, K, L), differentiable in them."""
        return self._last(self._features(latents)[-1], self.bias_4).sigmoid()

    @torch.no_grad()
    def linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, K, P) and their slopes (N, K, L, P), of latents (N, K, L).

        Forward mode: the L tangents of each image go through the layers side by side.
        """
        parts = [self._linearized(part) for part in latents.split(CHUNK)]
        return torch.cat([drawn for drawn, _ in parts]), torch.cat([slopes for _, slopes in parts])

    def _linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        features = self._features(latents)
        drawn = self._last(features[-1], self.bias_4).sigmoid()
        count = len(latents)
        tangents = self.weight_1.transpose(0, 1).unflatten(2, (16, -1)).transpose(2, 3)
        tangents = tangents.reshape(1, self.latents, -1, 4, 4)
        for number, values in enumerate(features, start=1):
            # The slope of ELU, read off its values.
            bent = tangents * torch.where(values > 0, 1, values + 1)[:, None]
            bent = bent.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            step = self._last(bent, None) if number == 3 else self._transposed(number + 1, bent)
            tangents = step.unflatten(0, (count, self.latents))
        return drawn, tangents.transpose(1, 2) * (drawn * (1 - drawn))[:, :, None]

    def _features(self, latents: Tensor) -> list[Tensor]:
        """What the three hidden layers answer, (N, K · filters, H, W) each."""
        hidden = torch.baddbmm(self.bias_1, latents.to(self.bias_1).transpose(0, 1), self.weight_1)
        planes = F.elu(hidden).view(self.classes, -1, 16, hidden.shape[2] // 16)
        planes = planes.permute(1, 0, 3, 2).reshape(len(latents), -1, 4, 4)
        features = [planes.contiguous(memory_format=torch.channels_last)]
        for number, bias in ((2, self.bias_2), (3, self.bias_3)):
            features.append(F.elu(self._transposed(number, features[-1], bias), inplace=True))
        return features

    def _transposed(self, number: int, planes: Tensor, bias: Tensor | None = None) -> Tensor:
        weight = self.weight_2 if number == 2 else self.weight_3
        return F.conv_transpose2d(planes, weight, bias, stride=2, groups=self.classes)

    def _last(self, planes: Tensor, bias: Tensor | None) -> Tensor:
        blocks = F.conv2d(
            planes, self.weight_4, bias, stride=BLOCK, padding=BLOCK - 1, groups=self.classes
        )
        return F.pixel_shuffle(blocks, BLOCK).flatten(2)

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.detach().clone(memory_format=torch.preserve_format))

    weight_1: Tensor
    weight_2: Tensor
    weight_3: Tensor
    weight_4: Tensor
    bias_1: Tensor
    bias_2: Tensor
    bias_3: Tensor
    bias_4: Tensor


def _folded(layer: nn.Module, norm: nn.Module, classes: int) -> tuple[Tensor, Tensor]:
    """The weight (K · inputs, outputs, k, k) and bias (K · outputs,) of layer and norm as one."""
    layer, norm = cast(nn.ConvTranspose2d, layer), cast(nn.BatchNorm2d, norm)
    assert layer.bias is not None, "built with one"
    assert norm.running_mean is not None and norm.running_var is not None, "built to track them"
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    grouped = layer.weight.unflatten(0, (classes, -1)) * scale.view(classes, 1, -1, 1, 1)
    return grouped.flatten(0, 1), (layer.bias - norm.running_mean) * scale + norm.bias


def _blocks(weight: Tensor) -> Tensor:
    """A transposed convolution's weight (K · C, 1, 4, 4) as one of stride 4, (K · 16, C, 7, 7).

    Filter 4 p + q draws the pixel at row p and column q of each block.
    """
    channels = 16
    turned = weight.view(-1, 1, channels, BLOCK, BLOCK).flip(3, 4)
    rows = [
        F.pad(turned, (q, BLOCK - 1 - q, p, BLOCK - 1 - p))
        for p in range(BLOCK)
        for q in range(BLOCK)
    ]
    return torch.cat(rows, dim=1).flatten(0, 1)
