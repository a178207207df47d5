"""Plots of images: grids, originals with their adversarial images, and confidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from armsrace import datasets
from armsrace.figures.style import CYCLE, DIVERGING, INK, PALETTE, Plot, new_plot, styled

MARGIN = 3 / 72
"""Inches around each image of a grid."""
PAD = 6 / 72
"""Inches between an image of a grid and its title."""
RING = 6 / 72
"""Inches from a pixel to the ring around it."""
DOTTED = 32
"""Pixels of a side up to which a panel marks negative changes by dots."""
EDGE = "#cbd2d9"
PANEL = 1.2, 1.42, 1.12, 0.5
"""Inches of a panel: the square of an image, a row, and what is below and above the rows."""
BARS = 4.1, 1.4
"""Inches from the left of a panel to its bars, and their width."""


def _pixels(image: Tensor) -> Any:
    """An image (C, H, W) for matplotlib: (H, W) for one channel, (H, W, 3) for three."""
    image = image.detach().cpu().float().clamp(0, 1)
    return image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()


@styled
def image_grid(
    images: Tensor,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 5,
    size: float = 1.15,
    rows: Sequence[str] | None = None,
    rings: Sequence[Sequence[tuple[float, float]]] | None = None,
) -> Plot:
    """Images in a grid, row by row, each under its title.

    Args:
        images: (N, C, H, W) in [0, 1].
        titles: one per image.
        columns: at most.
        size: the width of an image, in inches.
        rows: the name of each row, at its left.
        rings: per image, the row and column of each pixel that a ring is drawn around.
    """
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles must have length {len(images)}, got {len(titles)}")
    if rings is not None and len(rings) != len(images):
        raise ValueError(f"rings must have length {len(images)}, got {len(rings)}")
    columns = min(columns, len(images))
    count = -(-len(images) // columns)
    if rows is not None and len(rows) != count:
        raise ValueError(f"rows must have length {count}, got {len(rows)}")
    side = 0.09 * max(len(line) for row in rows for line in row.split("\n")) + 0.1 if rows else 0.0
    heights = []
    for row in range(count):
        above = titles[row * columns : (row + 1) * columns] if titles else []
        lines = max((title.count("\n") + 1 for title in above if title), default=0)
        heights.append(size + 0.19 * lines + 0.02)
    width = side + columns * size
    plot = new_plot(width, sum(heights))
    # All positions are known, in inches. One axes holds all images: an axes for each, with ticks
    # and spines, would take most of the time, and so would a layout engine.
    plot.set_layout_engine("none")
    axes = plot.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        low = sum(heights[row + 1 :]) + MARGIN
        left = side + column * size
        # Digits are drawn as ink on paper: 0 is white and 1 is black.
        high = _place(axes, _pixels(image), left, low, size, vmin=0, vmax=1)
        if rows and column == 0:
            axes.text(0, low + high / 2, rows[row], fontsize=11, ha="left", va="center")
        if titles and titles[index]:
            middle, above = left + 0.5 * size, low + high + PAD
            axes.text(middle, above, titles[index], fontsize=11, ha="center", va="baseline")
        for y, x in rings[index] if rings else ():
            start, right, bottom, top = axes.images[-1].get_extent()
            center = (
                start + (right - start) * (x + 0.5) / image.shape[2],
                top - (top - bottom) * (y + 0.5) / image.shape[1],
            )
            # White within dark, so that one of both stands out from any ground.
            for color, line in ((INK, 2.6), ("white", 1.2)):
                ring = Circle(center, RING, fill=False, edgecolor=color, linewidth=line)
                axes.add_patch(ring)
    axes.set(xlim=(0, width), ylim=(0, sum(heights)))
    return plot


def sample_photographs() -> Tensor:
    """The photographs (20, 3, 224, 224) of `datasets.load("imagenet-samples")`, for a figure.

    Without the package that carries them they are gray squares. A study that was made on them shows
    on these what it changed.
    """
    try:
        return datasets.load("imagenet-samples").images
    except datasets.DatasetNotFound:
        return torch.full((20, 3, 224, 224), 0.75)


def _place(axes: Axes, pixels: Any, left: float, low: float, size: float, **scale: Any) -> Any:
    """Draw an image with its frame in a square of `size` inches; returns its height."""
    high, wide = np.array(pixels.shape[:2]) * (size - 2 * MARGIN) / max(pixels.shape[:2])
    left += (size - wide) / 2
    extent = (left, left + wide, low, low + high)
    axes.imshow(pixels, extent=extent, aspect="auto", **scale)
    edge = Rectangle((left, low), wide, high, fill=False, edgecolor=EDGE, linewidth=0.8)
    axes.add_patch(edge)
    return high


def _bars(axes: Axes, probabilities: Mapping[str, Tensor]) -> None:
    """Draw the probabilities (K,) of each name as bars, beside each other."""
    width = 0.8 / len(probabilities)
    for index, (name, row) in enumerate(probabilities.items()):
        color = PALETTE["gray"] if index == 0 else PALETTE[CYCLE[index][0]]
        offset = (index - (len(probabilities) - 1) / 2) * width
        x = torch.arange(len(row)).numpy() + offset
        axes.bar(x, row.detach().cpu().numpy(), width, color=color, label=name)
    axes.set(ylim=(0, 1), xticks=range(len(row)), yticks=(0, 0.5, 1))
    axes.grid(False, axis="x")


@styled
def confidence_bars(probabilities: Mapping[str, Tensor], *, title: str = "") -> Plot:
    """The confidence in each class, one color per name.

    Args:
        probabilities: {name: (K,) in [0, 1]}.
        title: of the plot.
    """
    if len({len(row) for row in probabilities.values()}) != 1:
        raise ValueError("probabilities must hold at least one row, all of the same length")
    plot = new_plot(5.6, 2.4)
    axes = plot.subplots()
    _bars(axes, probabilities)
    axes.set(xlabel="class", ylabel="confidence", title=title)
    plot.legend(loc="outside upper right", ncols=len(probabilities))
    return plot


@styled
def attack_panel(
    clean: Tensor,
    adversarial: Tensor,
    clean_probabilities: Tensor,
    adversarial_probabilities: Tensor,
    *,
    reach: float | None = None,
    own_scale: bool = False,
    rows: Sequence[str] | None = None,
) -> Plot:
    """One row per attack: the original, the perturbation, the adversarial, both confidences.

    The perturbation is averaged over channels and drawn on one scale for all rows. In small images
    a white dot marks each pixel whose value fell, so that the sign is not told by color alone.

    Args:
        clean: (N, C, H, W) in [0, 1].
        adversarial: (N, C, H, W) in [0, 1].
        clean_probabilities: (N, K), softmax of the logits.
        adversarial_probabilities: (N, K), softmax of the logits.
        reach: the ends of the perturbation's scale, −reach and reach; by default its largest value.
        own_scale: whether each row has a scale of its own, up to its largest change, printed above
            it. For perturbations in different norms.
        rows: the name of each row, above its perturbation.
    """
    if clean.shape != adversarial.shape or len(clean_probabilities) != len(clean):
        raise ValueError("clean, adversarial and the probabilities must have the same length")
    if rows is not None and len(rows) != len(clean):
        raise ValueError(f"rows must have length {len(clean)}, got {len(rows)}")
    delta = (adversarial - clean).detach().cpu()
    if own_scale and reach is not None:
        raise ValueError("reach must be None where each row has its own scale")
    reach = reach or float(delta.abs().max()) or 1.0
    count, width = len(clean), 5.6
    side, pitch, below, above = PANEL
    height = below + count * pitch + above
    plot = new_plot(width, height)
    # As in a grid, all positions are known, in inches, and one axes holds all images.
    plot.set_layout_engine("none")
    axes = plot.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for row in range(count):
        before, after = clean_probabilities[row], adversarial_probabilities[row]
        change = delta[row].mean(0).numpy()
        low = below + (count - 1 - row) * pitch
        end = (float(abs(change).max()) or 1.0) if own_scale else reach
        named = (rows[row] if rows else "", f"at most {end:.2g}" if own_scale else "")
        largest = ", ".join(filter(None, named))
        columns: Any = (
            ("original", _verdict(before), _pixels(clean[row]), {"vmin": 0, "vmax": 1}),
            ("perturbation", largest, change, {"vmin": -end, "vmax": end, "cmap": DIVERGING}),
            ("adversarial", _verdict(after), _pixels(adversarial[row]), {"vmin": 0, "vmax": 1}),
        )
        for column, (heading, verdict, pixels, scale) in enumerate(columns):
            high = _place(axes, pixels, column * side, low, side, **scale)
            if column == 1 and max(change.shape) <= DOTTED:
                _dot(axes, change < 0, axes.images[-1].get_extent())
            title = "\n".join(line for line in (heading if row == 0 else "", verdict) if line)
            middle = (column + 0.5) * side
            axes.text(middle, low + high + PAD, title, fontsize=11, ha="center", va="baseline")
        bars = plot.add_axes((BARS[0] / width, low / height, BARS[1] / width, high / height))
        _bars(bars, {"original": before, "adversarial": after})
        bars.tick_params(labelsize=9, labelbottom=row == count - 1)
        if row == 0:
            bars.set_title("confidence", fontsize=11, loc="center", y=1)
            plot.legend(loc="upper right", ncols=2, borderaxespad=0.3)
    bars.set_xlabel("class", fontsize=11)
    axes.set(xlim=(0, width), ylim=(0, height))
    _scale(plot, None if own_scale else reach, width, height, max(delta.shape[-2:]) <= DOTTED)
    return plot


def _dot(axes: Axes, marked: Any, extent: Sequence[float]) -> None:
    """Draw a white dot in the middle of each marked pixel (H, W) of an image."""
    left, right, low, high = extent
    rows, columns = marked.nonzero()
    x = left + (columns + 0.5) * (right - left) / marked.shape[1]
    y = high - (rows + 0.5) * (high - low) / marked.shape[0]
    axes.plot(x, y, ".", color="white", markersize=1.6, markeredgewidth=0)


def _scale(plot: Plot, end: float | None, width: float, height: float, dotted: bool) -> None:
    """Draw the scale of the perturbations along the bottom; without an end, of each row's own."""
    reach = end or 1.0
    axes = plot.add_axes((0.25 / width, 0.5 / height, 1 - 0.5 / width, 0.1 / height))
    ramp = np.linspace(-reach, reach, 256)[None]
    axes.imshow(ramp, DIVERGING, extent=(-reach, reach, 0, 1), aspect="auto")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_yticks([])
    axes.set_xticks([-reach, 0, reach], labels=[f"−{reach:.2g}", "0", f"+{reach:.2g}"])
    what = "pixels run from 0 to 1" if end else "as a share of the largest in its row"
    axes.set_xlabel(f"change of a pixel ({what})", fontsize=11)
    if dotted:
        _dot(axes, np.arange(64)[None] < 32, (-reach, reach, 0, 1))


def _verdict(probabilities: Tensor) -> str:
    """The predicted class and its confidence."""
    confidence, prediction = probabilities.max(0)
    return f"“{int(prediction)}”, {float(confidence):.1%}"
