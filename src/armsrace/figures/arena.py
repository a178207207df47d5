"""Plots of the arena: a matrix with its numbers, and curves of many defenses side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

from armsrace.figures.curves import PERCENT, UNITS, Series
from armsrace.figures.style import INK, PALETTE, Plot, new_plot, styled

if TYPE_CHECKING:
    import pandas as pd  # slow to import, and only the arena's tables need it

SHADES = LinearSegmentedColormap.from_list("armsrace_shades", ["#ffffff", PALETTE["blue"]])
MISSING = "#e4e7eb"
# Black numbers have a contrast of at least 4.5 to 1 up to this shade, white ones above it.
DARK = 0.9


@styled
def heat_map(table: pd.DataFrame, *, label: str = "accuracy") -> Plot:
    """A table of fractions as shaded cells, white for 0 and blue for 1, with each number in %.

    Args:
        table: fractions in [0, 1]; NaN is shown as a dash. If the columns have two levels, the
            first one names groups of columns, which are separated by lines.
        label: of the color bar.
    """
    values = table.to_numpy(dtype=float)
    if not values.size or np.nanmin(values) < 0 or np.nanmax(values) > 1:
        raise ValueError("table must hold at least one fraction, all in [0, 1]")
    rows, columns = values.shape
    plot = new_plot(max(5.6, 1.6 + 0.46 * columns), 1.5 + 0.32 * rows)
    axes = plot.subplots()
    image = axes.imshow(
        np.ma.masked_invalid(values), cmap=SHADES.with_extremes(bad=MISSING), vmin=0, vmax=1,
        aspect="auto",
    )  # fmt: skip
    for (row, column), value in np.ndenumerate(values):
        text = "–" if math.isnan(value) else f"{100 * value:.0f}"
        color = "white" if value > DARK else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    names = map(str, table.columns.get_level_values(-1))
    axes.set_xticks(range(columns), names, rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(rows), map(str, table.index))
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if table.columns.nlevels > 1:
        _name_groups(axes, list(map(str, table.columns.get_level_values(0))))
    bar = plot.colorbar(image, ax=axes, fraction=0.03, pad=0.02, format=PERCENT)
    bar.set_label(label)
    return plot


def _name_groups(axes: Axes, names: Sequence[str]) -> None:
    """Write the name of each group of columns above it, and draw lines between groups."""
    starts = [k for k in range(len(names)) if k == 0 or names[k] != names[k - 1]]
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        axes.text((start + end - 1) / 2, -0.65, names[start], ha="center", va="bottom")
        if start:
            axes.axvline(start - 0.5, color=INK, lw=1.2)


@styled
def small_multiples(
    curves: Series, *, norm: str = "linf", budget: float | None = None, columns: int = 4
) -> Plot:
    """Accuracy against the budget, one panel per name, with all other curves in gray behind it.

    Args:
        curves: {name: (epsilons, accuracies)}, both (S,).
        norm: of the budget.
        budget: where a dotted line is drawn.
        columns: of panels.
    """
    if norm not in UNITS:
        raise ValueError(f"norm must be one of {', '.join(UNITS)}, got {norm!r}")
    if not curves:
        raise ValueError("curves must hold at least one curve")
    rows = math.ceil(len(curves) / columns)
    width, height = 1.9 * columns + 0.4, 1.6 * rows + 0.5
    plot = new_plot(width, height)
    # All positions are known, in inches. A layout engine would measure each tick of each panel, and
    # axes that share their ticks ask each other for them: both took most of the time.
    plot.set_layout_engine("none")
    others = [np.column_stack([np.asarray(side) for side in pair]) for pair in curves.values()]
    limits = None
    for index, (name, curve) in enumerate(curves.items()):
        row, column = divmod(index, columns)
        left, low = 0.78 + 1.8 * column, height - 0.24 - 1.28 - 1.6 * row
        axes = plot.add_axes((left / width, low / height, 1.67 / width, 1.28 / height))
        axes.add_collection(LineCollection(others, color=PALETTE["gray"], lw=0.7, alpha=0.4))
        axes.plot(*curve, color=PALETTE["blue"], lw=2.4)
        if budget is not None:
            axes.axvline(budget, color=INK, ls=":", lw=1)
        axes.set_title(name, fontsize=10, y=1)
        limits = limits or axes.get_xlim()
        axes.set(xlim=limits, ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))
        axes.yaxis.set_major_formatter(PERCENT)
        axes.tick_params(labelleft=column == 0, labelbottom=index + columns >= len(curves))
    plot.supxlabel(UNITS[norm], fontsize=11, y=0.08 / height, va="bottom")
    plot.supylabel("accuracy", fontsize=11, x=0.05 / width, ha="left")
    return plot
