"""Maps of a space of many dimensions, and curves over a network's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from torch import Tensor

from armsrace.figures.curves import Series, lines
from armsrace.figures.style import INK, PALETTE, Plot, new_plot, styled

GROUND = "#aeb6bf"
MARKS = (INK, PALETTE["vermilion"], PALETTE["blue"], PALETTE["amber"])


@dataclass(frozen=True)
class Marked:
    """Points that a map picks out.

    name: in the legend. points: (M, 2). labels: (M,) int64, each point's digit. ways: (M, T, 2),
    lines that lead to the points, in the colour of the group.
    """

    name: str
    points: Tensor
    labels: Tensor
    ways: Tensor | None = None


@dataclass(frozen=True)
class DigitMap:
    """Points (N, 2) with their digits (N,) int64, and groups of others among them."""

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
    """Maps side by side, {title: map}, in which each point is drawn as its digit.

    The ground is gray, the marked groups black, vermilion, blue and amber, in this order. Without
    axis labels there are no ticks either: on a t-SNE map units mean nothing. limits: left, right,
    bottom, top of every map. Raises ValueError where there is no map, a map has more than four
    groups, or a point has no label.
    """
    if not maps:
        raise ValueError("maps must hold at least one map")
    plot = new_plot(width * len(maps), width + 0.4)
    names: dict[str, str] = {}
    for axes, (title, one) in zip(
        plot.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True
    ):
        if len(one.marked) > len(MARKS):
            raise ValueError(f"marked must be at most {len(MARKS)} groups, got {len(one.marked)}")
        _draw_digits(axes, one.points, one.labels, GROUND, 22)
        for group, colour in zip(one.marked, MARKS, strict=False):
            names[group.name] = colour
            for way in () if group.ways is None else group.ways.detach().cpu():
                axes.plot(*way.T.numpy(), color=colour, lw=0.7, alpha=0.6)
            _draw_digits(axes, group.points, group.labels, colour, 46)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        axes.grid(False)
        if not x_label and not y_label:
            axes.set(xticks=[], yticks=[])
        if limits is not None:
            axes.set(xlim=limits[:2], ylim=limits[2:])
    _name(plot, names)
    return plot


def _draw_digits(axes: Axes, points: Tensor, labels: Tensor, colour: str, size: float) -> None:
    if points.shape != (len(labels), 2):
        raise ValueError(f"points must have shape ({len(labels)}, 2), got {tuple(points.shape)}")
    points, labels = points.detach().cpu(), labels.cpu()
    for digit in labels.unique().tolist():
        x, y = points[labels == digit].T.numpy()
        axes.scatter(x, y, size, colour, marker=f"${digit}$", linewidths=0.3)


def _name(plot: Plot, names: Mapping[str, str]) -> None:
    handles = [
        plot.axes[0].plot([], [], "o", color=colour, label=name)[0]
        for name, colour in names.items()
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
    """Curves {name: (L,)} over the L layers of a network, from its input to its logits.

    percent prints the y axis, a fraction, in %. A linear y axis begins at 0: heights compare as the
    values do. Raises ValueError where a curve has not one value a layer.
    """
    places = torch.arange(len(layers))
    curves: Series = {name: (places, values) for name, values in series.items()}
    plot = lines(curves, x_label="layer", y_label=y_label, y_scale=y_scale, percent=percent)
    plot.axes[0].set_xticks(range(len(layers)), layers)
    if y_scale == "linear":
        plot.axes[0].set_ylim(bottom=0)
    return plot
