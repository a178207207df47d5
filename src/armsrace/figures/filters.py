"""The activations of a layer's filters, as a mosaic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from armsrace.figures.style import Plot, new_plot, styled

FRAME = "#cbd2d9"


@styled
def filter_maps(maps: Mapping[str, Tensor]) -> Plot:
    """Mosaics side by side: the activation maps of a layer's F filters, row by row.

    All are on one scale. 0 is white, and the largest value is black; it is printed below.

    Args:
        maps: {title: (F, H, W)}, values >= 0.
    """
    if not maps or any(filters.ndim != 3 for filters in maps.values()):
        raise ValueError("maps must hold at least one mosaic, each of shape (F, H, W)")
    largest = max(float(filters.max()) for filters in maps.values())
    plot = new_plot(3.2 * len(maps), 3.6)
    grid = plot.subplots(1, len(maps), squeeze=False)[0]
    for axes, (title, filters) in zip(grid, maps.items(), strict=True):
        axes.imshow(_mosaic(filters.detach().cpu().float()), vmin=0, vmax=largest or 1.0)
        axes.set(title=title, xticks=[], yticks=[], facecolor=FRAME)
        axes.set_xlabel(f"white 0, black {largest:.3g}")
        axes.grid(False)
        axes.spines[:].set_visible(False)
    return plot


def _mosaic(filters: Tensor) -> Any:
    """The maps (F, H, W) in rows, each with a frame of NaN, which is not drawn."""
    columns = math.ceil(math.sqrt(len(filters)))
    rows = math.ceil(len(filters) / columns)
    framed = F.pad(filters, (1, 1, 1, 1), value=torch.nan)
    blank = framed.new_full((rows * columns - len(framed), *framed.shape[1:]), torch.nan)
    tiles = torch.cat([framed, blank]).unflatten(0, (rows, columns))
    return tiles.transpose(1, 2).flatten(2).flatten(0, 1).numpy()
