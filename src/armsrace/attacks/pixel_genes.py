"""Few-pixel changes as genes (…, pixels, 2 + C): row, column and color of each, all in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.randomness import Keys
from armsrace.contracts import Bounds


def random_genes(
    keys: Keys, shape: tuple[int, int, int], normal: bool, generator: torch.Generator
) -> Tensor:
    """Genes (N, P, pixels, 2 + C) for a shape (P, pixels, C): places are uniform, and colors.

    normal: colors are drawn from N(128, 127) of 255 instead, and clipped.
    """
    places = keys.uniform((*shape[:2], 2), generator)
    if normal:
        colors = (128 + 127 * keys.normal(shape, generator)) / 255
    else:
        colors = keys.uniform(shape, generator)
    return inside(torch.cat([places, colors], dim=3))


def inside(genes: Tensor) -> Tensor:
    """Genes in [0, 1]: a place comes in again on the other side, a color is clipped."""
    return torch.cat([genes[..., :2].remainder(1), genes[..., 2:].clamp(0, 1)], dim=-1)


def painted(images: Tensor, genes: Tensor, bounds: Bounds) -> Tensor:
    """Images (M, C, H, W) with the pixels of genes (M, pixels, 2 + C) set in order."""
    images, sizes = images.clone(), torch.tensor(images.shape[2:], device=images.device)
    numbers = torch.arange(len(images), device=images.device)
    for pixel in genes.unbind(dim=1):
        # Rounding may take a remainder to 1, which is no place.
        row, column = (pixel[:, :2] * sizes).long().minimum(sizes - 1).unbind(dim=1)
        color = bounds.lower + (bounds.upper - bounds.lower) * pixel[:, 2:]
        images[numbers, :, row, column] = bounds.clip(color).to(images.dtype)
    return images
