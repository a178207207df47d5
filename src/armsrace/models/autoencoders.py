"""Autoencoders: images (N, C, H, W) in [0, 1] to images of the same shape.

MagNet's two for MNIST (Meng and Chen 2017; the authors' `train_defense.py`): 3×3 convolutions of
three filters that keep the size, each followed by a sigmoid. Variational ones (Kingma and Welling
2014), with few latents and a decoder that serves as a generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from armsrace.models.layers import ToOneChannel


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


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """A 3×3 convolution and its sigmoid."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer, nn.Sigmoid()


class Team(nn.ModuleList):
    """Autoencoders that are trained together: `team[k]` is one of them.

    Images (N, 1, H, W) to their reconstructions (N, size, H, W), one per channel.
    """

    def __init__(self, size: int = 8, build: Callable[[], nn.Module] = magnet_1) -> None:
        super().__init__(build() for _ in range(size))

    def forward(self, images: Tensor) -> Tensor:
        """All reconstructions, side by side."""
        return torch.cat([member(images) for member in self], dim=1)


class VariationalAutoencoder(nn.Module):
    """An encoder to a normal distribution of L latents, and a decoder back to images.

    Args:
        encoder: images (N, C, H, W) in [0, 1] to (N, 2 L): the means, then the log variances.
        decoder: latents (N, L) to (N, C, H, W), the logit of each pixel.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, each (N, L), of images (N, C, H, W)."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] of latents (N, L)."""
        return cast(Tensor, self.decoder(latents)).sigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """The images of the mean latents of images (N, C, H, W): nothing is random."""
        return self.decode(self.encode(images)[0])


def s3_vae(latents: int = 2) -> VariationalAutoencoder:
    """Two strided convolutions of 16 and 32 filters and 64 units, and the mirror image, for MNIST.

    The tutorial names a convolutional VAE with two latents and shows no more of it; the sizes are
    ours, small enough for a CPU.
    """
    encoder = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 2 * latents),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latents, 64), nn.ReLU(), nn.Linear(64, 32 * 7 * 7), nn.ReLU(),
        nn.Unflatten(1, (32, 7, 7)), nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1), nn.ReLU(),
        ToOneChannel(16, 4, stride=2, padding=1),
    )  # fmt: skip
    return VariationalAutoencoder(encoder, decoder)


def manifold_vae(latents: int = 20, units: int = 500) -> VariationalAutoencoder:
    """Two dense layers of 500 units and the mirror image, for MNIST: 20-500-500-784.

    The generator of Jalal et al.'s robust manifold defense (the authors' code), softplus units as
    in the VAE that it was taken from.
    """
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(784, units), nn.Softplus(), nn.Linear(units, units), nn.Softplus(),
        nn.Linear(units, 2 * latents),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latents, units), nn.Softplus(), nn.Linear(units, units), nn.Softplus(),
        nn.Linear(units, 784), nn.Unflatten(1, (1, 28, 28)),
    )  # fmt: skip
    return VariationalAutoencoder(encoder, decoder)
