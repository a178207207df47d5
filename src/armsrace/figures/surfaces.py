"""Height maps: how a loss bends around a point."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from armsrace.figures.style import INK, PALETTE, Plot, new_plot, styled

LEVELS = 14


@styled
def surfaces(
    heights: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    *,
    x_label: str,
    y_label: str,
    height_label: str,
) -> Plot:
    """Maps {name: (Y, X)} over x (X,) and y (Y,), side by side on one scale of heights.

    A cross marks the origin. Raises ValueError where nothing is given or a map has another shape.
    """
    if not heights:
        raise ValueError("heights must hold at least one map")
    for name, rows in heights.items():
        if rows.shape != (len(y), len(x)):
            raise ValueError(
                f"heights of {name!r} must have shape {(len(y), len(x))}, got {tuple(rows.shape)}"
            )
    across, up = (axis.detach().cpu().numpy() for axis in (x, y))
    maps = torch.stack([rows.detach().cpu() for rows in heights.values()])
    low, high = float(maps.min()), float(maps.max())
    levels = torch.linspace(low, high if high > low else low + 1, LEVELS).tolist()
    plot = new_plot(3.0 * len(maps) + 0.8, 3.3)
    grid = plot.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    for axes, name, rows in zip(grid, heights, maps, strict=True):
        filled = axes.contourf(across, up, rows.numpy(), levels, cmap="cividis")
        axes.contour(across, up, rows.numpy(), levels, colors="white", linewidths=0.4)
        cross = {"marker": "+", "markersize": 11, "markeredgewidth": 2.5, "clip_on": False}
        axes.plot(0, 0, color=PALETTE["vermilion"], zorder=5, **cross)
        axes.set(xlabel=x_label, title=name)
        axes.grid(False)
    grid[0].set_ylabel(y_label)
    bar = plot.colorbar(filled, ax=grid, fraction=0.05, format="%.2g")
    bar.set_label(height_label, color=INK)
    bar.outline.set_visible(False)
    return plot
