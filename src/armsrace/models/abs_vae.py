"""The models of analysis by synthesis: one small variational autoencoder per class, in one network.

Schott, Rauber, Bethge and Brendel 2019, in the sizes of the authors' code. `ClassVaes` is what is
trained; `ClassDecoders` are its decoders, made fast for the search.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGES_AT_ONCE = 100
"""Images that pass through all classes at once: the encoders widen each to 5,760 planes."""
LATENTS_AT_ONCE = 4
"""Images whose Jacobians are computed at once: what they need stays in the processor's cache."""
BLOCK = 4
"""Pixels on a side that one place of the last convolution draws: its kernel's width."""


class ClassVaes(nn.Module):
    """K variational autoencoders with L latents each, of digits (28 × 28), as grouped convolutions.

    Encoder: 32 filters of 5×5, 32 of 4×4 at stride 2, 64 of 3×3 at stride 2, 2 L of 5×5; decoder:
    transposed convolutions, 32 of 4×4, 16 of 5×5 and 16 of 5×5 at stride 2, 1 of 4×4, a sigmoid;
    batch normalization and ELU after all but the last layers. No group depends on another.
    """

    def __init__(self, classes: int = 10, latents: int = 8) -> None:
        super().__init__()
        self.classes, self.latents = classes, latents
        self.encoder = nn.Sequential(
            *_block(nn.Conv2d, classes, 1, 32, 5), *_block(nn.Conv2d, classes, 32, 32, 4, 2),
            *_block(nn.Conv2d, classes, 32, 64, 3, 2),
            nn.Conv2d(64 * classes, 2 * latents * classes, 5, groups=classes),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            *_block(nn.ConvTranspose2d, classes, latents, 32, 4),
            *_block(nn.ConvTranspose2d, classes, 32, 16, 5, 2),
            *_block(nn.ConvTranspose2d, classes, 16, 16, 5, 2),
            nn.ConvTranspose2d(16 * classes, classes, 4, groups=classes),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances of the latents, each (N, K, L), of images (N, K, 28, 28).

        Plane k of an image goes to class k's encoder.
        """
        moments = self.encoder(images).view(len(images), self.classes, 2, self.latents)
        return moments[:, :, 0], moments[:, :, 1]

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, K, 28, 28) in [0, 1] of latents (N, K, L), each by its own class's decoder."""
        return cast(Tensor, self.decoder(latents.reshape(len(latents), -1, 1, 1))).sigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images x (N, 1, 28, 28): −½ (‖x − G(z)‖² + ‖z‖² / 2).

        z is the mean of class k's encoder: inference in one pass, only as good as the encoders are
        on digits of another class. The paper's, by search, is `defenses.AnalysisBySynthesis`.
        """
        return torch.cat([self._amortized(part) for part in images.split(IMAGES_AT_ONCE)])

    def _amortized(self, images: Tensor) -> Tensor:
        """The logits (N, K) of one part of the images."""
        planes = images.expand(-1, self.classes, -1, -1)
        latents, _ = self.encode(planes)
        error = F.mse_loss(self.decode(latents), planes, reduction="none").flatten(2).sum(dim=2)
        return -(error + latents.square().sum(dim=2) / 2) / 2


def _block(
    kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], classes: int, inputs: int, outputs: int,
    kernel: int, stride: int = 1,
) -> tuple[nn.Module, ...]:  # fmt: skip
    """A grouped convolution with batch normalization and ELU; sizes per class."""
    planes = classes * outputs
    layer = kind(classes * inputs, planes, kernel, stride, groups=classes)
    return layer, nn.BatchNorm2d(planes), nn.ELU()


class ClassDecoders(nn.Module):
    """The K decoders of a trained `ClassVaes`, made fast, without a gradient in their weights.

    classes: K. latents: L. Images are flat: P = 784 pixels in [0, 1].

    Batch normalization, in evaluation mode, is folded into the convolutions. The last layer, with
    its one filter, is computed as a convolution of stride 4 that draws 16 pixels at each place: a
    CPU's kernels fill 16 channels anyway (measured: a quarter of the time).
    """

    weight_1: Tensor
    weight_2: Tensor
    weight_3: Tensor
    weight_4: Tensor
    bias_1: Tensor
    bias_2: Tensor
    bias_3: Tensor
    bias_4: Tensor

    def __init__(self, vaes: ClassVaes) -> None:
        super().__init__()
        self.classes, self.latents = vaes.classes, vaes.latents
        layers = list(vaes.decoder)
        first, second, third = (
            _folded(layers[at], layers[at + 1], vaes.classes) for at in (0, 3, 6)
        )
        # (K, L, places · filters), channels last as the convolutions want their input.
        grouped = first[0].view(self.classes, self.latents, -1, 4, 4).permute(0, 1, 3, 4, 2)
        self._store("weight_1", grouped.flatten(2))
        self._store("bias_1", first[1].view(self.classes, 1, -1).repeat(1, 1, 16))
        for number, (weight, bias) in ((2, second), (3, third)):
            self._store(f"weight_{number}", weight.to(memory_format=torch.channels_last))
            self._store(f"bias_{number}", bias)
        last = cast(nn.ConvTranspose2d, layers[-1])
        assert last.bias is not None, "built with one"
        self._store("weight_4", _strided(last.weight).to(memory_format=torch.channels_last))
        self._store("bias_4", last.bias.repeat_interleave(BLOCK * BLOCK))

    def draw(self, latents: Tensor) -> Tensor:
        """Images (N, K, P) of latents (N, K, L), differentiable in them."""
        return self._last(self._features(latents)[-1], self.bias_4).sigmoid()

    @torch.no_grad()
    def linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, K, P) and their Jacobians (N, K, L, P), of latents (N, K, L).

        Forward mode: the L tangents of each image go through the layers side by side.
        """
        parts = [self._linearized(part) for part in latents.split(LATENTS_AT_ONCE)]
        return torch.cat([images for images, _ in parts]), torch.cat([jac for _, jac in parts])

    def _linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images and Jacobians of one part of the latents."""
        features = self._features(latents)
        images = self._last(features[-1], self.bias_4).sigmoid()
        count = len(latents)
        tangents = self.weight_1.transpose(0, 1).unflatten(2, (16, -1)).transpose(2, 3)
        tangents = tangents.reshape(1, self.latents, -1, 4, 4)
        for number, values in enumerate(features, start=1):
            # The derivative of ELU, from its values.
            after = tangents * torch.where(values > 0, 1, values + 1)[:, None]
            after = after.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            step = self._last(after, None) if number == 3 else self._transposed(number + 1, after)
            tangents = step.unflatten(0, (count, self.latents))
        # The derivative of the sigmoid, from its values.
        return images, tangents.transpose(1, 2) * (images * (1 - images))[:, :, None]

    def _features(self, latents: Tensor) -> list[Tensor]:
        """The outputs of the three hidden layers, (N, K · filters, H, W) each."""
        hidden = torch.baddbmm(self.bias_1, latents.to(self.bias_1).transpose(0, 1), self.weight_1)
        planes = F.elu(hidden).view(self.classes, -1, 16, hidden.shape[2] // 16)
        planes = planes.permute(1, 0, 3, 2).reshape(len(latents), -1, 4, 4)
        features = [planes.contiguous(memory_format=torch.channels_last)]
        for number, bias in ((2, self.bias_2), (3, self.bias_3)):
            features.append(F.elu(self._transposed(number, features[-1], bias), inplace=True))
        return features

    def _transposed(self, number: int, planes: Tensor, bias: Tensor | None = None) -> Tensor:
        """Layer 2 or 3, without its ELU."""
        weight = self.weight_2 if number == 2 else self.weight_3
        return F.conv_transpose2d(planes, weight, bias, stride=2, groups=self.classes)

    def _last(self, planes: Tensor, bias: Tensor | None) -> Tensor:
        """The last layer (N, K, P), without its sigmoid."""
        blocks = F.conv2d(
            planes, self.weight_4, bias, stride=BLOCK, padding=BLOCK - 1, groups=self.classes
        )
        return F.pixel_shuffle(blocks, BLOCK).flatten(2)

    def _store(self, name: str, value: Tensor) -> None:
        """Register a constant copy."""
        self.register_buffer(name, value.detach().clone(memory_format=torch.preserve_format))


def _folded(layer: nn.Module, norm: nn.Module, classes: int) -> tuple[Tensor, Tensor]:
    """The weight (K · inputs, outputs, k, k) and bias (K · outputs,) of layer and norm as one."""
    layer, norm = cast(nn.ConvTranspose2d, layer), cast(nn.BatchNorm2d, norm)
    assert layer.bias is not None, "built with one"
    assert norm.running_mean is not None and norm.running_var is not None, "built to track them"
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    grouped = layer.weight.unflatten(0, (classes, -1)) * scale.view(classes, 1, -1, 1, 1)
    return grouped.flatten(0, 1), (layer.bias - norm.running_mean) * scale + norm.bias


def _strided(weight: Tensor) -> Tensor:
    """A transposed convolution's weight (K · C, 1, 4, 4) as one of stride 4, (K · 16, C, 7, 7).

    Filter 4 p + q draws the pixel at row p and column q of each block.
    """
    channels = 16
    flipped = weight.view(-1, 1, channels, BLOCK, BLOCK).flip(3, 4)
    filters = [
        F.pad(flipped, (q, BLOCK - 1 - q, p, BLOCK - 1 - p))
        for p in range(BLOCK)
        for q in range(BLOCK)
    ]
    return torch.cat(filters, dim=1).flatten(0, 1)
