"""The palette is told apart by every common kind of color vision and stands out from its ground;
PNGs are small and exact."""

import io
import math
import re
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from armsrace import figures
from armsrace.figures.arena import DARK, SHADES
from armsrace.figures.style import INK, STYLE, small_png
from armsrace.resources import CLONE

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "trichromat": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                  [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                    [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                  [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                   [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
WHITE = TO_XYZ.sum(axis=1)


def linear(color: str) -> np.ndarray:
    """An sRGB hex color as linear RGB in [0, 1]."""
    channels = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB as CIE L*a*b*."""
    ratio = TO_XYZ @ rgb / WHITE
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


# The site's dark theme dims every figure by this much; WCAG asks for 3 for lines, 4.5 for text.
CSS = (CLONE / "book" / "_static" / "style.css").read_text()
DIMMED = float(re.findall(r"brightness\(([\d.]+)\)", CSS)[0])
LINES, TEXT = 3, 4.5


def contrast(front: str, ground: str, brightness: float) -> float:
    """WCAG's contrast of two sRGB hex colors, both dimmed."""
    channels = np.array([[int(color[start : start + 2], 16) for start in (1, 3, 5)]
                         for color in (front, ground)]) / 255 * brightness  # fmt: skip
    levels = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(levels @ TO_XYZ[1] + 0.05)
    return light / dark


@pytest.mark.parametrize("brightness", [1, DIMMED])
def test_lines_and_text_stand_out_in_both_themes(brightness: float) -> None:
    on_white = {name: contrast(color, "#ffffff", brightness)
                for name, color in figures.PALETTE.items()}  # fmt: skip
    assert min(on_white.values()) >= LINES, on_white
    # The colors that also write: a curve's class stands at its end in the curve's color.
    assert min(on_white[name] for name in ("blue", "vermilion", "gray")) >= TEXT, on_white
    assert contrast(INK, "#ffffff", brightness) >= TEXT


def test_numbers_of_a_matrix_stand_out_from_their_cells() -> None:
    for share in np.linspace(0, 1, 101):
        front = "#ffffff" if share > DARK else "#000000"
        assert contrast(front, to_hex(SHADES(share)), 1) >= TEXT, share


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff", 1) == pytest.approx(21)
    assert contrast("#777777", "#ffffff", 1) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("vision", VISIONS)
def test_colors_stay_apart(vision: str) -> None:
    seen = {
        name: lab(np.clip(np.array(VISIONS[vision]) @ linear(color), 0, 1))
        for name, color in figures.PALETTE.items()
    }
    distances = {
        pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(seen, 2)
    }
    closest = min(distances, key=lambda pair: distances[pair])
    # Five times the least difference that a careful observer sees (2.3 in this space).
    assert distances[closest] > 11.5, f"{closest} are {distances[closest]:.1f} apart"


def test_curves_differ_without_color() -> None:
    signs = {(marker, dash) for _, marker, dash in figures.CYCLE}
    assert len(signs) == len(figures.CYCLE) == len(figures.PALETTE)


def test_style_is_lent_and_given_back() -> None:
    before = dict(matplotlib.rcParams)
    seen = figures.styled(lambda: matplotlib.rcParams["axes.spines.top"])()
    assert seen is False
    assert dict(matplotlib.rcParams) == before


def test_use_style_sets_every_key() -> None:
    with matplotlib.rc_context():
        figures.use_style()
        assert all(
            matplotlib.rcParams[key] == value or key == "font.family"
            for key, value in STYLE.items()
        )


def test_plot_is_shown_sharp_and_once() -> None:
    plot = figures.new_plot(4.0, 2.0)
    plot.subplots().plot([0, 1])
    data, metadata = plot._repr_png_()
    picture = Image.open(io.BytesIO(data))
    assert metadata == {"width": 400}
    assert picture.width >= 1.5 * metadata["width"]
    assert plot.png() == data
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []


def test_small_png_keeps_the_picture() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    drawn = io.BytesIO()
    Image.fromarray(np.stack([ramp, ramp, ramp], axis=2)).save(
        drawn, format="PNG", compress_level=0
    )
    small = small_png(drawn.getvalue())
    back = np.asarray(Image.open(io.BytesIO(small)).convert("L"), dtype=int)
    assert len(small) < len(drawn.getvalue()) / 10
    assert np.abs(back - ramp).max() <= 2


def test_picture_of_few_colors_is_kept_to_the_bit() -> None:
    pixels = np.random.default_rng(4).integers(0, 4, (9, 13, 3), dtype=np.uint8) * 85
    pixels = np.repeat(np.repeat(pixels, 5, axis=0), 3, axis=1)
    drawn = io.BytesIO()
    Image.fromarray(pixels).save(drawn, format="PNG")
    back = Image.open(io.BytesIO(small_png(drawn.getvalue())))
    np.testing.assert_array_equal(np.asarray(back.convert("RGB")), pixels)
    few = Image.open(io.BytesIO(small_png(drawn.getvalue(), colors=16))).convert("RGB")
    assert len(few.getcolors()) <= 16


def test_ground_and_ink_keep_their_colors() -> None:
    plot = figures.new_plot()
    axes = plot.subplots()
    axes.imshow(np.random.default_rng(5).random((40, 40, 3)))
    pixels = np.asarray(Image.open(io.BytesIO(plot.png())).convert("RGB")).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    assert colors[counts.argmax()].tolist() == [255, 255, 255]
    ink = np.array(list(bytes.fromhex(INK[1:])))
    assert np.abs(colors.astype(int) - ink).max(axis=1).min() <= 16


def test_an_empty_plot_is_refused() -> None:
    with pytest.raises(ValueError, match="a plot must show something"):
        figures.lines({"none": ([0, 1], [math.nan, math.inf])}, x_label="x", y_label="y").png()
    with pytest.raises(ValueError, match="a plot must show something"):
        figures.lines({}, x_label="x", y_label="y").png()
    some = figures.lines({"one point": ([0, 1], [math.nan, 0.0])}, x_label="x", y_label="y")
    assert some.png().startswith(b"\x89PNG")
