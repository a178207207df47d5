"""One palette, one style, and a matplotlib Figure that writes small, crisp PNGs."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

PALETTE = {
    "blue": "#2a6f97",
    "vermilion": "#c9384c",
    "green": "#4c956c",
    "amber": "#bf7f0a",
    "violet": "#9b7fc7",
    "gray": "#626b73",
}
CYCLE = (
    ("blue", "o", "-"),
    ("vermilion", "s", "--"),
    ("amber", "^", "-."),
    ("green", "D", ":"),
    ("violet", "v", "-"),
    ("gray", "P", "--"),
)
"""Color, marker and dash of each curve. Curves differ in more than their color."""

DIVERGING = LinearSegmentedColormap.from_list(
    "armsrace_diverging", [PALETTE["blue"], "#ffffff", PALETTE["vermilion"]]
)
INK = "#1f2933"
CSS_PIXELS_PER_INCH = 100
PHOTOGRAPH = 100
"""Pixels of a side from which a color image counts as a photograph, which a palette would spoil."""
PIXELS_PER_INCH = 180
PHOTOGRAPH_PIXELS_PER_INCH = 144
"""Of figures that show photographs: 224 pixels on an inch and a half have no more to show."""
COLORS = 256

# White, not transparent: in the site's dark mode, ink would be invisible.
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=[PALETTE[name] for name, _, _ in CYCLE]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": CSS_PIXELS_PER_INCH,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.8,
    "image.cmap": "gray_r",
    "image.interpolation": "nearest",
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "savefig.facecolor": "white",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 10,
    "ytick.color": INK,
    "ytick.labelsize": 10,
}

Pixels = npt.NDArray[np.integer[Any]]
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def use_style() -> None:
    """Use the course's style for all later matplotlib figures."""
    matplotlib.rcParams.update(STYLE)


def styled(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Run a function in the course's style, whatever style the caller uses."""

    @wraps(function)
    def inner(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return inner


class Plot(Figure):
    """A matplotlib Figure that a notebook shows as a small PNG, sharp on dense screens.

    It is made without pyplot, so no global list keeps it, and no notebook shows it twice.
    """

    @styled
    def png(self) -> bytes:
        """The figure as PNG bytes; equal figures give equal bytes.

        It has an adaptive palette, or where it shows a photograph, all of its colors.

        Raises:
            ValueError: the axes are empty; a page must not show that.
        """
        if not any(_has_finite_data(axes) for axes in self.axes):
            raise ValueError("a plot must show something, but its axes hold no finite number")
        canvas, dpi = FigureCanvasAgg(self), self.get_dpi()
        photograph = self._has_photograph()
        self.set_dpi(PHOTOGRAPH_PIXELS_PER_INCH if photograph else PIXELS_PER_INCH)
        try:
            canvas.draw()  # `savefig` would draw twice and encode a PNG only to have it decoded
            picture = np.asarray(canvas.buffer_rgba())
            return _whole(picture) if photograph else _encoded(picture)
        finally:
            self.set_dpi(dpi)

    def _has_photograph(self) -> bool:
        """Whether an image in color is large enough to be a photograph."""
        shapes = (
            image.get_size() for axes in self.axes for image in axes.images if _colored(image)
        )
        return any(min(shape) >= PHOTOGRAPH for shape in shapes)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.png(), {"width": round(self.get_figwidth() * CSS_PIXELS_PER_INCH)}


def _colored(image: AxesImage) -> bool:
    """Whether an image has color channels of its own, and not a color map."""
    pixels = image.get_array()
    return pixels is not None and pixels.ndim == 3


def _has_finite_data(axes: Axes) -> bool:
    """Whether the axes show anything other than curves without a finite point."""
    if axes.images or axes.patches or axes.collections:
        return True
    points = [np.asarray(line.get_xydata(), float) for line in axes.lines]
    return any(np.isfinite(curve).all(axis=1).any() for curve in points)


def new_plot(width: float = 5.6, height: float = 3.4) -> Plot:
    """An empty figure of `width` by `height` inches; an inch is 100 pixels on a page."""
    layout = ConstrainedLayoutEngine(hspace=0.01, wspace=0.03)
    plot = Plot(figsize=(width, height), layout=layout)
    FigureCanvasAgg(plot)
    return plot


def small_png(data: bytes, colors: int = COLORS) -> bytes:
    """PNG bytes with at most `colors` colors, chosen from the picture."""
    return _encoded(np.array(Image.open(io.BytesIO(data)).convert("RGBA")), colors)


def _whole(picture: Pixels) -> bytes:
    """An opaque picture (H, W, 4), RGBA, as PNG bytes with all of its colors."""
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[..., :3])).save(encoded, format="PNG")
    return encoded.getvalue()


def _encoded(picture: Pixels, colors: int = COLORS) -> bytes:
    """An opaque picture (H, W, 4), RGBA, as PNG bytes with a palette.

    Most rows of a figure equal the row above, since pixels are drawn enlarged and the ground is
    white. Pillow looks for the palette only in the others, in a third of the time.
    """
    rows = np.ascontiguousarray(picture[..., :3])
    new = np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=(1, 2))])
    distinct = Image.fromarray(rows[new])
    reduced = distinct.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    whole = Image.fromarray(np.asarray(reduced)[new.cumsum() - 1])
    whole.putpalette(reduced.getpalette() or [])
    encoded = io.BytesIO()
    whole.save(encoded, format="PNG")
    return encoded.getvalue()
