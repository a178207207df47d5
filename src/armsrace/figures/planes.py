"""The plane: which class a model reads where, the ways of a search, and scattered points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.colors import ListedColormap
from torch import Tensor

from armsrace.figures.curves import PERCENT, Series
from armsrace.figures.style import CYCLE, INK, PALETTE, Plot, new_plot, styled

GROUNDS = ("#eef3f7", "#f6d9dc", "#fbeed3", "#dcebe1")


@styled
def decision_map(
    classes: Tensor,
    ways: Mapping[str, Tensor],
    marks: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
) -> Plot:
    """Where a model of two pixels reads what, and the ways that searches took.

    classes: (Y, X) int64, the class at each point of the unit square, row 0 at the bottom; at most
    four. ways: {name: (T, 2)}, drawn in order with a dot a point. marks: {text: (x, y)}, crosses.
    Raises ValueError for a map that is not (Y, X) or more than four classes.
    """
    if classes.ndim != 2 or int(classes.max()) >= len(GROUNDS):
        raise ValueError(
            f"classes must be (Y, X) and < {len(GROUNDS)}, got {tuple(classes.shape)} up to "
            f"{int(classes.max())}"
        )
    plot = new_plot(5.2, 5.2)
    axes = plot.subplots()
    shown = classes.cpu().numpy()
    axes.imshow(
        shown, ListedColormap(GROUNDS), vmin=-0.5, vmax=len(GROUNDS) - 0.5, origin="lower",
        extent=(0, 1, 0, 1), interpolation="nearest",
    )  # fmt: skip
    for (name, points), (colour, _, dash) in zip(ways.items(), CYCLE, strict=False):
        x, y = points.detach().cpu().T.numpy()
        axes.plot(x, y, color=PALETTE[colour], ls=dash, lw=1.1, label=name)
        axes.plot(x, y, ".", color=PALETTE[colour], markersize=4)
    for text, (x, y) in marks.items():
        axes.plot(x, y, "+", color=INK, markersize=11, markeredgewidth=2)
        axes.annotate(text, (x, y), (7, -12), textcoords="offset points", color=INK)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1))
    axes.grid(False)
    if len(ways) > 1:
        plot.legend(loc="outside upper left", ncols=len(ways))
    return plot


@styled
def scatter(points: Series, *, x_label: str, y_label: str, percent: bool = False) -> Plot:
    """Points {name: (x, y)}, both (S,), a colour and a marker a name; at most six names.

    percent prints the y axis, a fraction, in %. Raises ValueError for lengths that differ.
    """
    if len(points) > len(CYCLE):
        raise ValueError(f"points must be at most {len(CYCLE)} groups, got {len(points)}")
    plot = new_plot()
    axes = plot.subplots()
    for (name, pair), (colour, marker, _) in zip(points.items(), CYCLE, strict=False):
        x, y = (torch.as_tensor(side).detach().cpu().numpy() for side in pair)
        if x.shape != y.shape:
            raise ValueError(f"points of {name!r} must pair x with y, got {len(x)} and {len(y)}")
        axes.plot(x, y, marker, color=PALETTE[colour], label=name, alpha=0.8)
    axes.set(xlabel=x_label, ylabel=y_label)
    if percent:
        axes.yaxis.set_major_formatter(PERCENT)
    if len(points) > 1:
        plot.legend(loc="outside upper left", ncols=2)
    return plot
