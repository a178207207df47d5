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
    """Images (M, C, H, W) with the pixels of genes (M, pixels, 2 + C) set: of two alike the last.

    Both then write the last one's color, so that the order of writing does not matter.
    """
    height, width = images.shape[2:]
    # Rounding may take a remainder to 1, which is no place.
    row = (genes[..., 0] * height).long().clamp_max(height - 1)
    place = row * width + (genes[..., 1] * width).long().clamp_max(width - 1)
    numbers = torch.arange(genes.shape[1], device=genes.device).expand_as(place)
    last = place.new_zeros(len(images), height * width).scatter_reduce(1, place, numbers, "amax")
    color = genes[..., 2:].take_along_dim(last.gather(1, place)[..., None], dim=1)
    values = bounds.clip(bounds.lower + (bounds.upper - bounds.lower) * color).to(images.dtype)
    places = place[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).scatter(2, places, values.transpose(1, 2)).view_as(images)
