"""Maps of two dimensions: decision regions, loss surfaces, and digits as points.

Also curves over a network's layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Polygon
from torch import Tensor

from armsrace.figures.curves import PERCENT, Series, lines
from armsrace.figures.style import CYCLE, INK, PALETTE, Plot, new_plot, styled

GROUNDS = ("#eef3f7", "#f6d9dc", "#fbeed3", "#dcebe1")
GROUND = "#aeb6bf"
MARKS = (INK, PALETTE["vermilion"], PALETTE["blue"], PALETTE["amber"])
SIGNS = ("", "'", "''", "^*")
LEVELS = 14
DOTTED = 250
"""A path of more points is a curve: dots would hide its dashes."""


@styled
def decision_map(
    classes: Tensor,
    ways: Mapping[str, Tensor],
    marks: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
) -> Plot:
    """The decision regions of a model of two pixels, and the paths of searches.

    Args:
        classes: (Y, X) int64, the class at each point of the unit square, row 0 at the bottom; at
            most four classes.
        ways: {name: (T, 2)}, the paths, with a dot at each point if these are at most 250.
        marks: {text: (x, y)}, points marked by a cross.
        x_label: with its unit.
        y_label: with its unit.
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
    for (name, points), (color, _, dash) in zip(ways.items(), CYCLE, strict=False):
        x, y = points.detach().cpu().T.numpy()
        axes.plot(
            x, y, color=PALETTE[color], ls=dash, lw=1.1 if len(points) <= DOTTED else 2, label=name
        )
        if len(points) <= DOTTED:
            axes.plot(x, y, ".", color=PALETTE[color], markersize=4)
    for text, (x, y) in marks.items():
        axes.plot(x, y, "+", color=INK, markersize=11, markeredgewidth=2)
        axes.annotate(text, (x, y), (7, -12), textcoords="offset points", color=INK)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1))
    axes.grid(False)
    if len(ways) > 1:
        plot.legend(loc="outside upper left", ncols=len(ways))
    return plot


@styled
def steepest_steps(gradient: Tensor) -> Plot:
    """The three balls of radius 1 in the plane, the lines of equal loss, and the best step in each.

    Args:
        gradient: (2,), not zero; the loss is linear and rises along it.
    """
    if gradient.shape != (2,) or not bool(gradient.any()):
        raise ValueError(f"gradient must be two numbers, not both 0, got {gradient.tolist()}")
    g = gradient.detach().cpu().double()
    axis = torch.nn.functional.one_hot(g.abs().argmax(), 2)
    steps: dict[str, tuple[Tensor, list[tuple[float, float]]]] = {
        "L∞": (g.sign(), [(1, 1), (1, -1), (-1, -1), (-1, 1)]),
        "L2": (g / g.norm(), [(math.cos(k / 20), math.sin(k / 20)) for k in range(126)]),
        "L1": (axis * g.sign(), [(1, 0), (0, 1), (-1, 0), (0, -1)]),
    }
    plot = new_plot(5.6, 2.5)
    ends = torch.linspace(-1.7, 1.7, 35, dtype=torch.float64)
    y, x = torch.meshgrid(ends, ends, indexing="ij")
    for axes, (name, (step, edge)) in zip(plot.subplots(1, 3), steps.items(), strict=True):
        loss = (g[0] * x + g[1] * y) / g.norm()
        axes.contour(ends, ends, loss, levels=9, colors=GROUND, linewidths=0.8, linestyles="-")
        axes.add_patch(Polygon(edge, fill=False, edgecolor=PALETTE["blue"], linewidth=1.6))
        for end, color, dash in ((g / g.norm(), "gray", ":"), (step, "vermilion", "-")):
            axes.plot((0, end[0]), (0, end[1]), dash, color=PALETTE[color], linewidth=2)
        axes.plot(*step, "o", color=PALETTE["vermilion"], markersize=7)
        axes.set(title=f"{name}: loss +{float(g @ step):.2f} ε", xlim=(-1.7, 1.7), ylim=(-1.7, 1.7))
        axes.set(aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1), xlabel="δ₁ / ε")
        axes.set_ylabel("δ₂ / ε" if name == "L∞" else "")
        axes.grid(False)
    return plot


@styled
def scatter(
    points: Series, *, x_label: str, y_label: str, percent: bool = False, equal: str = ""
) -> Plot:
    """A scatter plot of one or several groups of points.

    Args:
        points: {name: (x, y)}, both (S,); at most six groups, each with its color and marker.
        x_label: with its unit.
        y_label: with its unit.
        percent: print the y axis, a fraction, in %.
        equal: the name of the line on which y equals x; without a name it is not drawn.
    """
    if len(points) > len(CYCLE):
        raise ValueError(f"points must be at most {len(CYCLE)} groups, got {len(points)}")
    plot = new_plot()
    axes = plot.subplots()
    for (name, pair), (color, marker, _) in zip(points.items(), CYCLE, strict=False):
        x, y = (torch.as_tensor(side).detach().cpu().numpy() for side in pair)
        if x.shape != y.shape:
            raise ValueError(f"points of {name!r} must pair x with y, got {len(x)} and {len(y)}")
        axes.plot(x, y, marker, color=PALETTE[color], label=name, alpha=0.8)
    if equal:
        axes.axline((0, 0), slope=1, color=INK, linestyle="--", linewidth=1, label=equal, zorder=0)
    axes.set(xlabel=x_label, ylabel=y_label)
    if percent:
        axes.yaxis.set_major_formatter(PERCENT)
    if len(points) > 1:
        plot.legend(loc="outside upper left", ncols=2)
    return plot


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
    """Contour maps side by side, on one scale of heights. A cross marks the origin.

    Args:
        heights: {name: (Y, X)}, such as the loss around an image.
        x: (X,), the columns' coordinates.
        y: (Y,), the rows' coordinates.
        x_label: with its unit.
        y_label: with its unit.
        height_label: with its unit.
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


@dataclass(frozen=True)
class Marked:
    """A group of points that a map highlights.

    Args:
        name: in the legend.
        points: (M, 2).
        labels: (M,) int64, each point's digit.
        ways: (M, T, 2), paths that lead to the points, in the group's color.
    """

    name: str
    points: Tensor
    labels: Tensor
    ways: Tensor | None = None


@dataclass(frozen=True)
class DigitMap:
    """Points (N, 2) with their digits (N,) int64, and highlighted groups of other points."""

    points: Tensor
    labels: Tensor
    marked: Sequence[Marked] = ()


@styled
def digit_maps(
    maps: Mapping[str, DigitMap],
    *,
    x_label: str = "",
    y_label: str = "",
    limits: tuple[float, float, float, float] | None = None,
    width: float = 3.2,
) -> Plot:
    """Maps side by side, in which each point is drawn as its digit.

    The points of a map are gray, its groups black, vermilion, blue and amber, in this order. From
    the second group on, a prime, two primes or a star tell them apart without color.

    Args:
        maps: {title: map}, each with at most four groups.
        x_label: with its unit. Without axis labels there are no ticks: the units of a t-SNE map
            have no meaning.
        y_label: with its unit.
        limits: left, right, bottom and top of every map.
        width: of a map, in inches.
    """
    if not maps:
        raise ValueError("maps must hold at least one map")
    plot = new_plot(width * len(maps), width + 0.4)
    names: dict[str, tuple[str, str]] = {}
    grid = plot.subplots(1, len(maps), squeeze=False)[0]
    for axes, (title, one) in zip(grid, maps.items(), strict=True):
        if len(one.marked) > len(MARKS):
            raise ValueError(f"marked must be at most {len(MARKS)} groups, got {len(one.marked)}")
        _draw_digits(axes, one.points, one.labels, GROUND, 22)
        digit = next((int(group.labels[0]) for group in one.marked if len(group.labels)), "n")
        for group, color, sign in zip(one.marked, MARKS, SIGNS, strict=False):
            names.setdefault(group.name, (color, f"${digit}{sign}$"))
            for path in () if group.ways is None else group.ways.detach().cpu():
                axes.plot(*path.T.numpy(), color=color, lw=0.7, alpha=0.6)
            _draw_digits(axes, group.points, group.labels, color, 70 if sign else 46, sign)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        axes.grid(False)
        if not x_label and not y_label:
            axes.set(xticks=[], yticks=[])
        if limits is not None:
            axes.set(xlim=limits[:2], ylim=limits[2:])
    _add_legend(plot, names)
    return plot


def _draw_digits(
    axes: Axes, points: Tensor, labels: Tensor, color: str, size: float, sign: str = ""
) -> None:
    """Draw points (M, 2) as their digits (M,), each with a sign."""
    if points.shape != (len(labels), 2):
        raise ValueError(f"points must have shape ({len(labels)}, 2), got {tuple(points.shape)}")
    points, labels = points.detach().cpu(), labels.cpu()
    for digit in labels.unique().tolist():
        x, y = points[labels == digit].T.numpy()
        axes.scatter(x, y, size, color, marker=f"${digit}{sign}$", linewidths=0.3)


def _add_legend(plot: Plot, names: Mapping[str, tuple[str, str]]) -> None:
    """A legend with the name, the color and the marker of each group."""
    handles = [
        plot.axes[0].plot([], [], ls="", marker=marker, color=color, markersize=9, label=name)[0]
        for name, (color, marker) in names.items()
    ]
    if handles:
        plot.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def by_layer(
    series: Mapping[str, Tensor],
    layers: Sequence[str],
    *,
    y_label: str,
    y_scale: str = "linear",
    percent: bool = False,
) -> Plot:
    """Curves over the L layers of a network, from its input to its logits.

    Args:
        series: {name: (L,)}.
        layers: the L names of the layers.
        y_label: with its unit.
        y_scale: "linear" or "log". A linear y axis begins at 0.
        percent: print the y axis, a fraction, in %.
    """
    x = torch.arange(len(layers))
    curves: Series = {name: (x, values) for name, values in series.items()}
    plot = lines(curves, x_label="layer", y_label=y_label, y_scale=y_scale, percent=percent)
    plot.axes[0].set_xticks(range(len(layers)), layers)
    if y_scale == "linear":
        plot.axes[0].set_ylim(bottom=0)
    return plot
