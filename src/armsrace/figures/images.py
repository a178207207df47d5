"""Plots of images: grids, originals with their adversarial images, and confidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from torch import Tensor

from armsrace.figures.style import CYCLE, DIVERGING, INK, PALETTE, Plot, new_plot, styled

MARGIN = 3 / 72
"""Inches around each image of a grid."""
PAD = 6 / 72
"""Inches between an image of a grid and its title."""
EDGE = "#cbd2d9"


def _pixels(image: Tensor) -> Any:
    """An image (C, H, W) for matplotlib: (H, W) for one channel, (H, W, 3) for three."""
    image = image.detach().cpu().float().clamp(0, 1)
    return image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()


def _show(axes: Axes, image: Tensor, title: str = "") -> None:
    """Draw an image; digits are ink on paper, 0 being white and 1 black."""
    axes.imshow(_pixels(image), vmin=0, vmax=1)
    _frame(axes, title)


def _frame(axes: Axes, title: str = "", color: str = INK) -> None:
    """Draw a frame without ticks, and a title."""
    # With y given, matplotlib does not measure every axis to find free room for the title.
    axes.set_title(title, fontsize=11, loc="center", color=color, y=1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=EDGE)


@styled
def image_grid(
    images: Tensor, titles: Sequence[str] | None = None, *, columns: int = 5, size: float = 1.15
) -> Plot:
    """Images in a grid, row by row, each under its title.

    Args:
        images: (N, C, H, W) in [0, 1].
        titles: one per image.
        columns: at most.
        size: the width of an image, in inches.
    """
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles must have length {len(images)}, got {len(titles)}")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    lines = max((title.count("\n") + 1 for title in titles or [] if title), default=0)
    height = size + 0.19 * lines + 0.02
    width = columns * size
    plot = new_plot(width, rows * height)
    # All positions are known, in inches. One axes holds all images: an axes for each, with ticks
    # and spines, would take most of the time, and so would a layout engine.
    plot.set_layout_engine("none")
    axes = plot.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        pixels = _pixels(image)
        high, wide = np.array(pixels.shape[:2]) * (size - 2 * MARGIN) / max(pixels.shape[:2])
        left = column * size + (size - wide) / 2
        low = (rows - 1 - row) * height + MARGIN
        extent = (left, left + wide, low, low + high)
        # Digits are drawn as ink on paper: 0 is white and 1 is black.
        axes.imshow(pixels, vmin=0, vmax=1, extent=extent, aspect="auto")
        edge = Rectangle((left, low), wide, high, fill=False, edgecolor=EDGE, linewidth=0.8)
        axes.add_patch(edge)
        if titles and titles[index]:
            middle, above = left + wide / 2, low + high + PAD
            axes.text(middle, above, titles[index], fontsize=11, ha="center", va="baseline")
    axes.set(xlim=(0, width), ylim=(0, rows * height))
    return plot


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
) -> Plot:
    """One row per attack: the original, the perturbation, the adversarial, both confidences.

    The perturbation is averaged over channels and drawn on one scale for all rows.

    Args:
        clean: (N, C, H, W) in [0, 1].
        adversarial: (N, C, H, W) in [0, 1].
        clean_probabilities: (N, K), softmax of the logits.
        adversarial_probabilities: (N, K), softmax of the logits.
        reach: the ends of the perturbation's scale, −reach and reach; by default its largest value.
    """
    if clean.shape != adversarial.shape or len(clean_probabilities) != len(clean):
        raise ValueError("clean, adversarial and the probabilities must have the same length")
    delta = (adversarial - clean).detach().cpu()
    reach = reach or float(delta.abs().max()) or 1.0
    plot = new_plot(5.6, 1.5 * len(clean) + 1.1)
    grid = plot.subplots(len(clean), 4, squeeze=False, sharex="col", width_ratios=(1, 1, 1, 1.3))
    for row, axes in enumerate(grid):
        before, after = clean_probabilities[row], adversarial_probabilities[row]
        _show(axes[0], clean[row], _verdict(before))
        axes[1].imshow(delta[row].mean(0).numpy(), cmap=DIVERGING, vmin=-reach, vmax=reach)
        _frame(axes[1])
        _show(axes[2], adversarial[row], _verdict(after))
        _bars(axes[3], {"original": before, "adversarial": after})
        axes[3].tick_params(labelsize=9)
    grid[-1, 3].set_xlabel("class", fontsize=11)
    headings = ("original", "perturbation", "adversarial", "confidence")
    for axes, heading in zip(grid[0], headings, strict=True):
        below = axes.get_title()
        axes.set_title(f"{heading}\n{below}" if below else heading, fontsize=11, loc="center")
    scale = ScalarMappable(Normalize(-reach, reach), DIVERGING)
    bar = plot.colorbar(scale, ax=grid, location="bottom", fraction=0.025, aspect=45)
    bar.set_ticks([-reach, 0, reach], labels=[f"−{reach:.2g}", "0", f"+{reach:.2g}"])
    bar.set_label("change of a pixel (pixels run from 0 to 1)", fontsize=11)
    bar.outline.set_visible(False)
    plot.legend(*grid[0, 3].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return plot


def _verdict(probabilities: Tensor) -> str:
    """The predicted class and its confidence."""
    confidence, prediction = probabilities.max(0)
    return f"“{int(prediction)}”, {float(confidence):.1%}"
