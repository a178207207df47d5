"""Curves draw the numbers they are given, with axes that say the unit."""

import numpy as np
import pytest
import torch

from armsrace import figures
from armsrace.figures.curves import _spread

EPSILONS = [0.0, 0.1, 0.2]


@pytest.mark.parametrize(
    ("norm", "unit"), [("linf", "largest"), ("l2", "length"), ("l1", "sum"), ("l0", "number")]
)
def test_robustness_curves_say_what_epsilon_is(norm: str, unit: str) -> None:
    axes = figures.robustness_curves({"fgsm": (EPSILONS, [1.0, 0.5, 0.1])}, norm=norm).axes[0]
    assert unit in axes.get_xlabel()
    assert axes.get_ylabel() == "accuracy"
    np.testing.assert_allclose(
        axes.lines[0].get_xydata(), np.c_[EPSILONS, [1.0, 0.5, 0.1]], atol=1e-7
    )


def test_percentages_are_not_rounded_away() -> None:
    axes = figures.lines({"a": ([0, 1], [0.9, 1])}, x_label="x", y_label="y", percent=True).axes[0]
    shown = [axes.yaxis.get_major_formatter()(value, 0) for value in (0.925, 0.2, 1.0, 0.001)]
    assert shown == ["92.5%", "20%", "100%", "0.1%"]


def test_curves_are_named_and_told_apart() -> None:
    series = {name: (EPSILONS, torch.rand(3)) for name in "abcdef"}
    plot = figures.robustness_curves(series)
    assert [text.get_text() for text in plot.legends[0].get_texts()] == list("abcdef")
    drawn = {
        (line.get_color(), line.get_marker(), line.get_linestyle()) for line in plot.axes[0].lines
    }
    assert len(drawn) == 6


def test_counts_have_whole_ticks() -> None:
    for x, whole in (([1, 2, 3], True), ([0.1, 0.2, 0.3], False)):
        plot = figures.lines({"a": (x, [0.1, 0.2, 0.3])}, x_label="attacks", y_label="y")
        ticks = plot.axes[0].get_xticks()
        assert (ticks == ticks.round()).all() == whole


def test_curves_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(ValueError, match="norm must be one of linf, l2, l1, l0, got 'l3'"):
        figures.robustness_curves({"a": (EPSILONS, EPSILONS)}, norm="l3")
    with pytest.raises(ValueError, match="'a' must pair x with y, got 3 and 2"):
        figures.robustness_curves({"a": (EPSILONS, [1, 2])})
    with pytest.raises(ValueError, match="at most 6 curves, got 7"):
        figures.lines({str(i): (EPSILONS, EPSILONS) for i in range(7)}, x_label="x", y_label="y")


def test_logits_along_marks_the_true_class_and_every_winner() -> None:
    scales = torch.linspace(-1, 1, 5)
    logits = torch.zeros(5, 4)
    logits[:, 0], logits[:, 1], logits[:, 2] = 1.0, 2 * scales, -2 * scales
    axes = figures.logits_along(scales, logits, label=0).axes[0]
    colors = [line.get_color() for line in axes.lines[:4]]
    blue, vermilion, gray = (figures.PALETTE[name] for name in ("blue", "vermilion", "gray"))
    assert colors == [blue, vermilion, vermilion, gray]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), logits[:, 1])
    assert sorted(text.get_text() for text in axes.texts) == sorted("00112233")
    with pytest.raises(ValueError, match="logits must have length 5, got 4"):
        figures.logits_along(scales, logits[:4], label=0)


def test_logits_along_names_classes_at_the_right() -> None:
    scales, logits = torch.linspace(-1, 1, 5), torch.arange(3.0).expand(5, 3)
    axes = figures.logits_along(scales, logits, label=2, names=["yurt", "tent", "drum"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["yurt", "tent", "drum"]
    assert all(text.xy[0] == 1 for text in axes.texts)
    with pytest.raises(ValueError, match="names must have length 3, got 1"):
        figures.logits_along(scales, logits, label=2, names=["yurt"])


def test_spread_parts_what_overlaps_and_keeps_the_order() -> None:
    heights = torch.tensor([3.0, 0.0, 3.01, 10.0, 3.02])
    placed = torch.tensor(_spread(heights, gap=0.5))
    assert placed.argsort().tolist() == heights.argsort().tolist()
    assert placed.sort().values.diff().min() >= 0.5 - 1e-5
    assert placed[1] == 0 and placed[3] == 10


def test_histogram_marks_its_threshold() -> None:
    values = {"score": torch.arange(4.0)}
    assert not figures.histogram(values, x_label="s").axes[0].lines
    (line,) = figures.histogram(values, x_label="s", threshold=1.5).axes[0].lines
    assert list(line.get_xdata()) == [1.5, 1.5]


def test_histogram_shares_are_of_the_finite_values() -> None:
    values = torch.tensor([0.0, 0.0, 1.0, torch.inf])
    axes = figures.histogram({"distance": values}, x_label="L2 distance", bins=2).axes[0]
    np.testing.assert_allclose(axes.patches[0].get_data().values, [2 / 3, 1 / 3])
    assert axes.get_xlabel() == "L2 distance"
    with pytest.raises(ValueError, match="'none' must hold at least one finite number"):
        figures.histogram({"none": torch.tensor([torch.inf])}, x_label="x")
