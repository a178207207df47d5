"""Plots with two axes: curves, logits along a direction, histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor

from armsrace.figures.style import CYCLE, INK, PALETTE, Plot, new_plot, styled

UNITS = {
    "linf": "ε, L∞ (largest change of a pixel, pixels in [0, 1])",
    "l2": "ε, L2 (length of the change, pixels in [0, 1])",
    "l1": "ε, L1 (sum of the changes, pixels in [0, 1])",
    "l0": "ε, L0 (number of changed pixels)",
}
PERCENT = FuncFormatter(lambda fraction, _: f"{100 * fraction:.3g}%")
Series = Mapping[str, tuple[Sequence[float] | Tensor, Sequence[float] | Tensor]]


def _draw(axes: Axes, series: Series) -> None:
    """Draw the curves with the colors, markers and dashes of the cycle."""
    if len(series) > len(CYCLE):
        raise ValueError(f"series must be at most {len(CYCLE)} curves, got {len(series)}")
    for (name, pair), (color, marker, dash) in zip(series.items(), CYCLE, strict=False):
        x, y = (torch.as_tensor(side).detach().cpu().numpy() for side in pair)
        if x.shape != y.shape:
            raise ValueError(f"series {name!r} must pair x with y, got {len(x)} and {len(y)}")
        every = max(1, len(x) // 12)
        axes.plot(x, y, label=name, color=PALETTE[color], marker=marker, ls=dash, markevery=every)


@styled
def lines(
    series: Series,
    *,
    x_label: str,
    y_label: str,
    x_scale: str = "linear",
    y_scale: str = "linear",
    percent: bool = False,
    title: str = "",
) -> Plot:
    """Curves that differ in color, marker and dash.

    Args:
        series: {name: (x, y)}, both (S,); at most six curves. Integer x get integer ticks.
        x_label: with its unit.
        y_label: with its unit.
        x_scale: "linear" or "log".
        y_scale: "linear" or "log".
        percent: print the y axis, a fraction, in %.
        title: of the plot.
    """
    axes = (plot := new_plot()).subplots()
    _draw(axes, series)
    axes.set(xlabel=x_label, ylabel=y_label, title=title, xscale=x_scale, yscale=y_scale)
    counted = not any(torch.as_tensor(x).is_floating_point() for x, _ in series.values())
    if counted and x_scale == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if percent:
        axes.yaxis.set_major_formatter(PERCENT)
    if len(series) > 1:
        plot.legend(loc="outside upper left", ncols=1 if max(map(len, series)) > 30 else 2)
    return plot


def robustness_curves(curves: Series, *, norm: str = "linf", title: str = "") -> Plot:
    """Accuracy against the budget ε.

    Args:
        curves: {name: (epsilons, accuracies)}, both (S,); accuracies are fractions in [0, 1].
        norm: of ε, "linf", "l2", "l1" or "l0"; the axis says what ε means in it.
        title: of the plot.
    """
    if norm not in UNITS:
        raise ValueError(f"norm must be one of {', '.join(UNITS)}, got {norm!r}")
    plot = lines(curves, x_label=UNITS[norm], y_label="accuracy", percent=True, title=title)
    plot.axes[0].set_ylim(-0.03, 1.03)
    return plot


def _spread(heights: Tensor, gap: float) -> list[float]:
    """Heights (K,), moved apart just enough that neighbors differ by at least `gap`."""
    order = heights.argsort()
    steps = heights[order] - gap * torch.arange(len(heights))
    # The running maximum prevents overlaps; its mirror image from above balances the shift.
    above, below = steps.cummax(0).values, steps.flip(0).cummin(0).values.flip(0)
    placed = (above + below) / 2 + gap * torch.arange(len(heights))
    return placed[order.argsort()].tolist()


@styled
def logits_along(
    scales: Tensor,
    logits: Tensor,
    label: int,
    *,
    x_label: str = "",
    names: Sequence[str] | None = None,
) -> Plot:
    """Each class's logit along one direction, which shows how close to linear the model is.

    The true class is blue. A class that has the largest logit somewhere is vermilion, and the
    others are gray. Each line is labeled with its class.

    Args:
        scales: (S,), positions along the direction, in its norm's unit.
        logits: (S, K).
        label: the true class.
        x_label: with its unit; by default ε in L∞.
        names: (K,) of the classes; numbers by default. Names stand at the right end alone, as they
            are longer.

    References:
        Goodfellow, Shlens and Szegedy 2015, "Explaining and harnessing adversarial examples", §5.
    """
    if len(scales) != len(logits):
        raise ValueError(f"logits must have length {len(scales)}, got {len(logits)}")
    if names is not None and len(names) != logits.shape[1]:
        raise ValueError(f"names must have length {logits.shape[1]}, got {len(names)}")
    scales, logits = scales.detach().cpu(), logits.detach().cpu()
    winners = set(logits.argmax(1).tolist()) - {label}
    axes = (plot := new_plot(5.6, 3.8)).subplots()
    ends = {
        end: _spread(logits[end], gap=0.05 * float(logits.max() - logits.min()))
        for end in ((0, -1) if names is None else (-1,))
    }
    for index, row in enumerate(logits.T):
        chosen = index == label or index in winners
        color = PALETTE["blue" if index == label else "vermilion" if chosen else "gray"]
        weight, width = ("bold", 2.4) if chosen else ("normal", 1.0)
        axes.plot(scales.numpy(), row.numpy(), color=color, lw=width)
        for end, heights in ends.items():
            side, shift = ("right", -5) if end == 0 else ("left", 5)
            axes.annotate(
                names[index] if names else str(index), (float(scales[end]), heights[index]),
                (shift, 0), ha=side, va="center", textcoords="offset points",
                color=color, fontsize=10, fontweight=weight,
            )  # fmt: skip
    axes.axvline(0, color=PALETTE["gray"], lw=0.8, ls=":")
    axes.set(xlabel=x_label or UNITS["linf"], ylabel="logit")
    return plot


@styled
def histogram(
    values: Mapping[str, Tensor],
    *,
    x_label: str,
    bins: int = 30,
    threshold: float | None = None,
    title: str = "",
) -> Plot:
    """Histograms of several samples, each as fractions of its own finite values.

    Args:
        values: {name: (N,)}; at least one value of each is finite.
        x_label: with its unit.
        bins: how many.
        threshold: where a dotted line is drawn.
        title: of the plot.
    """
    finite = {name: row.detach().cpu()[torch.isfinite(row.cpu())] for name, row in values.items()}
    for name, row in finite.items():
        if not len(row):
            raise ValueError(f"values of {name!r} must hold at least one finite number")
    pooled = torch.cat(list(finite.values())).double()
    low, high = float(pooled.min()), float(pooled.max())
    edges = torch.linspace(low, high if high > low else low + 1, bins + 1, dtype=torch.float64)
    axes = (plot := new_plot()).subplots()
    for (name, row), (color, _, dash) in zip(finite.items(), CYCLE, strict=False):
        sides = (torch.histogram(row.double(), edges).hist / len(row)).numpy(), edges.numpy()
        axes.stairs(*sides, color=PALETTE[color], fill=True, alpha=0.25)
        axes.stairs(*sides, color=PALETTE[color], ls=dash, lw=1.8, label=name)
    if threshold is not None:
        axes.axvline(threshold, color=INK, ls=":", lw=1.5)
    axes.set(xlabel=x_label, ylabel="fraction of images", title=title)
    axes.yaxis.set_major_formatter(PERCENT)
    if len(values) > 1:
        plot.legend(loc="outside upper left", ncols=2)
    return plot
