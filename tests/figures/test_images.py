"""Grids and panels show the images they are given, with their numbers."""

import io

import numpy as np
import pytest
import torch
from matplotlib.patches import Circle
from PIL import Image
from torch import Tensor

from armsrace import datasets, figures

GENERATOR = torch.Generator().manual_seed(3)
IMAGES = torch.rand(7, 1, 28, 28, generator=GENERATOR)


def shown(axes, index: int = 0) -> np.ndarray:
    """The pixels of one image that an axes draws."""
    return np.asarray(axes.images[index].get_array())


def test_grid_shows_each_image_under_its_title() -> None:
    (axes,) = figures.image_grid(IMAGES, list("abcdefg"), columns=3).axes
    for index, (image, title) in enumerate(zip(IMAGES, axes.texts, strict=True)):
        np.testing.assert_array_equal(shown(axes, index), image[0].numpy())
        assert axes.images[index].get_clim() == (0, 1)
        assert title.get_text() == "abcdefg"[index]
        left, right, _, high = axes.images[index].get_extent()
        assert title.get_position()[0] == pytest.approx((left + right) / 2)
        assert high < title.get_position()[1] < high + 0.15, "just above its image"


def test_grid_fills_its_rows_from_the_top_left() -> None:
    (axes,) = figures.image_grid(IMAGES, columns=3).axes
    places = [(image.get_extent()[0], -image.get_extent()[2]) for image in axes.images]
    assert sorted(places, key=lambda place: (place[1], place[0])) == places
    assert len({round(across, 6) for across, _ in places}) == 3


def test_grid_keeps_an_image_s_proportions() -> None:
    (axes,) = figures.image_grid(torch.rand(1, 3, 10, 20, generator=GENERATOR)).axes
    left, right, low, high = axes.images[0].get_extent()
    assert (right - left) == pytest.approx(2 * (high - low))


def test_grid_shows_color() -> None:
    image = torch.rand(1, 3, 8, 8, generator=GENERATOR)
    axes = figures.image_grid(image).axes[0]
    np.testing.assert_array_equal(shown(axes), image[0].permute(1, 2, 0).numpy())


def test_grid_refuses_missing_titles() -> None:
    with pytest.raises(ValueError, match="titles must have length 7, got 1"):
        figures.image_grid(IMAGES, ["one"])


def test_rows_are_named_at_their_left() -> None:
    (axes,) = figures.image_grid(IMAGES[:6], columns=3, rows=["upper", "lower"]).axes
    names = {text.get_text(): text for text in axes.texts}
    for name, index in (("upper", 0), ("lower", 3)):
        left, _, low, high = axes.images[index].get_extent()
        assert names[name].get_position() == pytest.approx((0, (low + high) / 2))
        assert left > 0.09 * len(name)
    with pytest.raises(ValueError, match="rows must have length 2, got 1"):
        figures.image_grid(IMAGES[:6], columns=3, rows=["one"])


def test_rings_lie_around_their_pixels() -> None:
    (axes,) = figures.image_grid(torch.rand(2, 3, 10, 10), rings=[[(0, 9)], []]).axes
    left, right, _, high = axes.images[0].get_extent()
    rings = [patch for patch in axes.patches if isinstance(patch, Circle)]
    pixel = (right - left) / 10
    for ring in rings:
        assert ring.center == pytest.approx((right - pixel / 2, high - pixel / 2))
    assert len(rings) == 2, "a dark ring and a white one within"
    with pytest.raises(ValueError, match="rings must have length 2, got 1"):
        figures.image_grid(torch.rand(2, 3, 10, 10), rings=[[(0, 9)]])


def test_photographs_without_their_package_are_gray(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise datasets.DatasetNotFound(name)

    there = figures.sample_photographs()
    monkeypatch.setattr(datasets, "load", missing)
    gray = figures.sample_photographs()
    assert there.shape == gray.shape and there.std() > 0.1
    assert gray.unique().tolist() == [0.75]


def test_a_photograph_keeps_its_colors_and_small_images_get_a_palette() -> None:
    for side, mode in ((32, "P"), (100, "RGB")):
        image = torch.rand(1, 3, side, side, generator=GENERATOR)
        with Image.open(io.BytesIO(figures.image_grid(image).png())) as picture:
            assert picture.mode == mode
    with Image.open(io.BytesIO(figures.image_grid(torch.rand(1, 1, 100, 100)).png())) as picture:
        assert picture.mode == "P", "shades of gray have room in a palette"


@pytest.fixture
def attack() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two clean images, the same two changed by exactly a tenth, and two confidences each."""
    clean = IMAGES[:2].clamp(0.2, 0.8)
    changed = clean + 0.1 * torch.randn(clean.shape, generator=GENERATOR).sign()
    return clean, changed, *torch.randn(2, 2, 10, generator=GENERATOR).mul(3).softmax(-1)


def test_panel_states_scale_and_verdicts(attack: tuple[Tensor, ...]) -> None:
    clean, changed, before, after = attack
    plot = figures.attack_panel(*attack)
    pictures, *bars, scale = plot.axes
    titles = [text.get_text() for text in pictures.texts]
    for row in range(2):
        drawn = pictures.images[3 * row + 1]
        np.testing.assert_allclose(drawn.get_array(), (changed - clean)[row, 0], atol=1e-7)
        np.testing.assert_allclose(drawn.get_clim(), (-0.1, 0.1), atol=1e-6)
        for column, images, rows in ((0, clean, before), (2, changed, after)):
            np.testing.assert_array_equal(shown(pictures, 3 * row + column), images[row, 0])
            verdict = f"“{rows[row].argmax()}”, {float(rows[row].max()):.1%}"
            assert titles[3 * row + column].endswith(verdict)
        heights = [bar.get_height() for bar in bars[row].patches]
        np.testing.assert_allclose(heights, torch.cat([before[row], after[row]]), atol=1e-6)
    assert [tick.get_text() for tick in scale.get_xticklabels()] == ["−0.1", "0", "+0.1"]
    assert "pixel" in scale.get_xlabel()


def test_panel_marks_what_fell_by_dots(attack: tuple[Tensor, ...]) -> None:
    clean, changed, *_ = attack
    pictures = figures.attack_panel(*attack).axes[0]
    for row, dots in enumerate(pictures.lines):
        drawn = pictures.images[3 * row + 1]
        left, right, low, high = drawn.get_extent()
        x, y = dots.get_data()
        columns = ((x - left) / (right - left) * 28).astype(int)
        rows = ((high - y) / (high - low) * 28).astype(int)
        marked = np.zeros((28, 28), dtype=bool)
        marked[rows, columns] = True
        np.testing.assert_array_equal(marked, (changed < clean)[row, 0])
    assert len(pictures.lines) == 2
    large = [part.repeat_interleave(2, 2).repeat_interleave(2, 3) for part in attack[:2]]
    assert not figures.attack_panel(*large, *attack[2:]).axes[0].lines


def test_panel_with_a_scale_for_each_row(attack: tuple[Tensor, ...]) -> None:
    clean, changed, before, after = attack
    changed = clean + torch.tensor([1.0, 0.5]).view(2, 1, 1, 1) * (changed - clean)
    pictures, *_, scale = figures.attack_panel(clean, changed, before, after, own_scale=True).axes
    ends = [pictures.images[3 * row + 1].get_clim()[1] for row in range(2)]
    np.testing.assert_allclose(ends, [0.1, 0.05], atol=1e-6)
    titles = [pictures.texts[3 * row + 1].get_text() for row in range(2)]
    assert titles == ["perturbation\nat most 0.1", "at most 0.05"]
    assert "share" in scale.get_xlabel()
    with pytest.raises(ValueError, match="reach must be None"):
        figures.attack_panel(clean, changed, before, after, own_scale=True, reach=0.1)


@pytest.mark.parametrize("rows", [1, 2])
def test_panel_hides_nothing(attack: tuple[Tensor, ...], rows: int) -> None:
    plot = figures.attack_panel(*(part[:rows] for part in attack))
    plot.canvas.draw()
    pictures, *bars, scale = plot.axes
    texts = [text.get_window_extent() for text in pictures.texts if text.get_text()]
    boxes = [axes.get_tightbbox() for axes in (*bars, scale)]
    boxes += [picture.get_window_extent() for picture in pictures.images]
    boxes += [*texts, plot.legends[0].get_window_extent()]
    for index, box in enumerate(boxes):
        assert plot.bbox.x0 <= box.x0 and box.x1 <= plot.bbox.x1, "beyond the figure's sides"
        assert plot.bbox.y0 <= box.y0 and box.y1 <= plot.bbox.y1, "above or below the figure"
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_panel_scale_can_be_set_and_survives_no_change(attack: tuple[Tensor, ...]) -> None:
    clean, _, before, after = attack
    for reach, end in ((0.3, "+0.3"), (None, "+1")):
        plot = figures.attack_panel(clean, clean, before, after, reach=reach)
        assert plot.axes[-1].get_xticklabels()[-1].get_text() == end


def test_panel_of_five_rows_stays_small(attack: tuple[Tensor, ...]) -> None:
    five = [torch.cat([rows, rows, rows])[:5] for rows in attack]
    assert len(figures.attack_panel(*five).png()) < 150_000


def test_panel_refuses_other_shapes(attack: tuple[Tensor, ...]) -> None:
    clean, changed, before, after = attack
    with pytest.raises(ValueError, match="same length"):
        figures.attack_panel(clean, changed[:1], before, after)


def test_bars_have_the_confidences_as_heights() -> None:
    rows = torch.rand(2, 10, generator=GENERATOR)
    axes = figures.confidence_bars({"clean": rows[0], "attacked": rows[1]}).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], rows.flatten())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("class", "confidence")
    with pytest.raises(ValueError, match="same length"):
        figures.confidence_bars({"clean": rows[0], "attacked": rows[1, :5]})


def test_rows_of_a_panel_are_named_above_their_perturbations() -> None:
    clean, share = torch.zeros(2, 1, 4, 4), torch.full((2, 3), 1 / 3)
    moved = clean + torch.tensor([0.5, 0.25]).view(2, 1, 1, 1)
    plot = figures.attack_panel(clean, moved, share, share, rows=["one", "two"])
    texts = [text.get_text() for text in plot.axes[0].texts]
    assert "perturbation\none" in texts and "two" in texts
    plot = figures.attack_panel(clean, moved, share, share, rows=["one", "two"], own_scale=True)
    assert "two, at most 0.25" in [text.get_text() for text in plot.axes[0].texts]
    with pytest.raises(ValueError, match="rows must have length 2, got 1"):
        figures.attack_panel(clean, moved, share, share, rows=["one"])
