"""Maps draw each point as its digit where it lies; curves over layers name the layers."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from armsrace import figures
from armsrace.figures.maps import GROUND, MARKS

DRAWS = torch.Generator().manual_seed(5)
POINTS = torch.randn(30, 2, generator=DRAWS)
LABELS = torch.arange(30) % 3
WAYS = torch.randn(4, 5, 2, generator=DRAWS)
FOUR = figures.Marked("adversarial", WAYS[:, -1], torch.tensor([2, 2, 6, 6]), WAYS)


def drawn(axes) -> dict[str, np.ndarray]:
    """The points that an axes scatters, by color."""
    found: dict[str, list[np.ndarray]] = {}
    for group in axes.collections:
        found.setdefault(to_hex(group.get_facecolor()[0]), []).append(group.get_offsets())
    return {color: np.concatenate(parts) for color, parts in found.items()}


def test_every_point_lies_where_it_should() -> None:
    plot = figures.digit_maps({"a map": figures.DigitMap(POINTS, LABELS, [FOUR])})
    (axes,) = plot.axes
    found = drawn(axes)
    by_digit = torch.cat([POINTS[digit == LABELS] for digit in range(3)])
    np.testing.assert_allclose(found[GROUND], by_digit, rtol=1e-6)
    np.testing.assert_allclose(found[MARKS[0]], WAYS[:, -1], rtol=1e-6)
    assert len(axes.collections) == 3 + 2
    ways = [line.get_xydata() for line in axes.lines if len(line.get_xdata()) == 5]
    np.testing.assert_allclose(np.stack(ways), WAYS, rtol=1e-6)
    assert [text.get_text() for text in plot.legends[0].get_texts()] == ["adversarial"]
    assert axes.get_title(loc="left") == "a map"


def test_a_map_has_ticks_only_where_its_axes_mean_something() -> None:
    one = figures.DigitMap(POINTS, LABELS)
    bare = figures.digit_maps({"t-SNE": one, "other": one})
    assert not any(axes.get_xticks().size for axes in bare.axes) and not bare.legends
    named = figures.digit_maps({"PCA": one}, x_label="first", limits=(-9, 9, -8, 8)).axes[0]
    assert named.get_xticks().size and named.get_xlabel() == "first"
    assert (named.get_xlim(), named.get_ylim()) == ((-9, 9), (-8, 8))


def test_maps_refuse() -> None:
    with pytest.raises(ValueError, match="at least one map"):
        figures.digit_maps({})
    with pytest.raises(ValueError, match=r"points must have shape \(29, 2\), got \(30, 2\)"):
        figures.digit_maps({"m": figures.DigitMap(POINTS, LABELS[1:])})
    with pytest.raises(ValueError, match="at most 4 groups, got 5"):
        figures.digit_maps({"m": figures.DigitMap(POINTS, LABELS, [FOUR] * 5)})


def test_curves_run_over_the_layers() -> None:
    layers = ["pixels", "conv 1", "logits"]
    values = torch.tensor([0.1, 0.2, 0.7])
    axes = figures.by_layer({"noise": values}, layers, y_label="change", percent=True).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == layers
    np.testing.assert_allclose(axes.lines[0].get_ydata(), values)
    assert axes.get_ylim()[0] == 0
    with pytest.raises(ValueError, match="must pair x with y, got 3 and 2"):
        figures.by_layer({"noise": values[:2]}, layers, y_label="change")


@pytest.mark.parametrize(
    ("gradient", "steps"),
    [((3.0, 1.0), ((1, 1), (0.94868, 0.31623), (1, 0))), ((-1.0, 2.0), ((-1, 1), None, (0, 1)))],
)
def test_steepest_steps_end_at_the_best_point_of_each_ball(gradient, steps) -> None:
    plot = figures.steepest_steps(torch.tensor(gradient))
    for axes, step in zip(plot.axes, steps, strict=True):
        (point,) = [line for line in axes.lines if line.get_marker() == "o"]
        if step is not None:
            np.testing.assert_allclose([float(v) for v in point.get_xydata()[0]], step, atol=1e-4)
        (ball,) = axes.patches
        rises = ball.get_xy() @ np.array(gradient)
        best = float(point.get_xydata()[0] @ np.array(gradient))
        assert rises.max() <= best + 1e-2, "no point of the ball is better"
        assert axes.get_title(loc="left").endswith(f"+{best:.2f} ε")


def test_steepest_steps_need_a_direction() -> None:
    with pytest.raises(ValueError, match="gradient must be two numbers"):
        figures.steepest_steps(torch.zeros(2))


def test_groups_of_digits_differ_by_a_sign_and_the_legend_shows_it() -> None:
    none = torch.zeros(0, dtype=torch.long)
    groups = [
        figures.Marked("clean", POINTS[:2], torch.tensor([2, 2])),
        figures.Marked("attacked", POINTS[2:4], torch.tensor([2, 2])),
        figures.Marked("nobody", torch.zeros(0, 2), none),
    ]
    plot = figures.digit_maps({"a": figures.DigitMap(POINTS, LABELS, groups)})
    (legend,) = plot.legends
    markers = {
        text.get_text(): line.get_marker()
        for text, line in zip(legend.texts, legend.get_lines(), strict=True)
    }
    assert markers == {"clean": "$2$", "attacked": "$2'$", "nobody": "$2''$"}


def test_a_scatter_plot_draws_its_line_of_equality_only_if_it_has_a_name() -> None:
    points = {"a": (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]))}
    (plain,) = figures.scatter(points, x_label="x", y_label="y").axes
    (with_line,) = figures.scatter(points, x_label="x", y_label="y", equal="y = x").axes
    assert len(plain.lines) == 1 and len(with_line.lines) == 2
    assert with_line.lines[1].get_label() == "y = x" and with_line.lines[1].get_slope() == 1
