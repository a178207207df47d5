"""Networks for color faces of 64 × 64: CelebA's gender task of the robust manifold defense."""

from __future__ import annotations

from torch import nn

from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.models.layers import Shift

SIDE = 64


def _halving(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Half as wide and high."""
    layer = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
    return layer, nn.BatchNorm2d(outputs), nn.ReLU()


def _doubling(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Twice as wide and high."""
    layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
    return layer, nn.BatchNorm2d(outputs), nn.ReLU()


def gender_cnn(width: int = 32) -> nn.Sequential:
    """Four strided convolutions, images (N, 3, 64, 64) to logits (N, 2): not male, male."""
    return nn.Sequential(
        Shift(-0.5), *_halving(3, width), *_halving(width, 2 * width),
        *_halving(2 * width, 4 * width), *_halving(4 * width, 4 * width), nn.Flatten(),
        nn.Linear(4 * width * 16, 2),
    )  # fmt: skip


def face_vae(latents: int = 64, width: int = 32) -> VariationalAutoencoder:
    """A convolutional VAE for faces (N, 3, 64, 64), in place of the paper's BEGAN.

    A VAE needs no critic and has its own encoder, from which searches begin; its faces are softer
    than a GAN's.
    """
    encoder = nn.Sequential(
        Shift(-0.5), *_halving(3, width), *_halving(width, 2 * width),
        *_halving(2 * width, 4 * width), *_halving(4 * width, 4 * width), nn.Flatten(),
        nn.Linear(4 * width * 16, 2 * latents),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latents, 4 * width * 16), nn.ReLU(), nn.Unflatten(1, (4 * width, 4, 4)),
        *_doubling(4 * width, 4 * width), *_doubling(4 * width, 2 * width),
        *_doubling(2 * width, width), nn.ConvTranspose2d(width, 3, 4, 2, 1),
    )  # fmt: skip
    return VariationalAutoencoder(encoder, decoder)
