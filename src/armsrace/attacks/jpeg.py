"""JPEG as a differentiable map: what a compressed photograph does to an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# ITU-T T.81 (1992), Annex K, Tables K.1 and K.2: luminance and chrominance.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)  # fmt: skip
# ITU-T T.871 (2011), §7: red, green, blue to luma and the two colour differences.
YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.299 / 1.772, -0.587 / 1.772, 0.886 / 1.772),
    (0.701 / 1.402, -0.587 / 1.402, -0.114 / 1.402),
)
BLOCK = 8


def compress(images: Tensor, qualities: Tensor) -> Tensor:
    """Images (N, C, H, W) in [0, 1] after JPEG compression at qualities (N,) from 1 to 100.

    One channel is luminance; three are red, green and blue, without chroma subsampling. Rounding
    passes the gradient on unchanged, so the map has one. The decimals of libjpeg's own integer
    cosine transform are not imitated. Raises ValueError for another number of channels or quality.
    """
    channels, height, width = images.shape[1:]
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels for JPEG, got {channels}")
    if qualities.min() < 1 or qualities.max() > 100:
        raise ValueError(f"quality must lie in [1, 100], got {qualities.tolist()}")
    padding = (0, -width % BLOCK, 0, -height % BLOCK)
    pixels = _rounded(functional.pad(images, padding, mode="replicate") * 255)
    colours = images.new_tensor(YCBCR) if channels == 3 else images.new_ones(1, 1)
    planes = _rounded(torch.einsum("dc,nchw->ndhw", colours, pixels - 128))
    blocks = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)
    cosines, steps = _cosines(images), _steps(images, qualities)
    coefficients = _rounded(cosines @ blocks @ cosines.T / steps) * steps
    blocks = _rounded(cosines.T @ coefficients @ cosines)
    planes = blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3).clamp(-128, 127)
    pixels = _rounded(torch.einsum("cd,ndhw->nchw", torch.linalg.inv(colours), planes)) + 128
    return (pixels[..., :height, :width] / 255).clamp(0, 1)


def _rounded(values: Tensor) -> Tensor:
    return values + (values.round() - values).detach()


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform of eight samples (8, 8)."""
    frequency = torch.arange(BLOCK, dtype=like.dtype, device=like.device)[:, None]
    cosines = torch.cos((2 * frequency.T + 1) * frequency * math.pi / (2 * BLOCK)) / 2
    return torch.cat([cosines[:1] / math.sqrt(2), cosines[1:]])


def _steps(images: Tensor, qualities: Tensor) -> Tensor:
    """Quantisation steps (N, C, 1, 1, 8, 8), scaled with quality as libjpeg does (jcparam.c)."""
    tables = images.new_tensor([LUMINANCE, CHROMINANCE, CHROMINANCE][: images.shape[1]])
    percent = torch.where(qualities < 50, (5000 / qualities).floor(), 200 - 2 * qualities)
    scaled = (tables[None] * percent.view(-1, 1, 1, 1) + 50) / 100
    return scaled.floor().clamp(1, 255)[:, :, None, None]
