"""Maps of the plane show every way and mark; scattered points keep their pairs."""

import pytest
import torch

from armsrace import figures

CLASSES = torch.tensor([[0, 0, 1], [0, 1, 1]])


def test_a_decision_map_shows_ways_and_marks() -> None:
    ways = {"one": torch.rand(5, 2), "two": torch.rand(3, 2)}
    plot = figures.decision_map(CLASSES, ways, {"image": (0.2, 0.3)}, x_label="a", y_label="b")
    axes = plot.axes[0]
    assert [len(line.get_xdata()) for line in axes.lines] == [5, 5, 3, 3, 1]
    assert axes.images[0].get_array().tolist() == CLASSES.tolist()
    assert axes.get_xlabel() == "a" and plot.legends and axes.texts[0].get_text() == "image"
    assert len(plot.png()) > 1000


def test_a_curve_of_many_points_has_no_dots_that_hide_its_dashes() -> None:
    ways = {"first": torch.rand(5, 2), "curve": torch.rand(400, 2)}
    lines = figures.decision_map(CLASSES, ways, {}, x_label="a", y_label="b").axes[0].lines
    assert [line.get_marker() for line in lines] == ["None", ".", "None"]
    assert lines[2].get_linestyle() != "-"


@pytest.mark.parametrize("classes", [CLASSES[0], CLASSES + 3])
def test_a_bad_map_is_refused(classes) -> None:
    with pytest.raises(ValueError, match="classes must be"):
        figures.decision_map(classes, {}, {}, x_label="", y_label="")


def test_scattered_points() -> None:
    groups = {"a": ([0.1, 0.2], [0.5, 1.0]), "b": (torch.zeros(1), torch.ones(1))}
    plot = figures.scatter(groups, x_label="x", y_label="y", percent=True)
    assert [line.get_ydata().tolist() for line in plot.axes[0].lines] == [[0.5, 1.0], [1.0]]
    assert plot.axes[0].yaxis.get_major_formatter()(0.5) == "50%"
    with pytest.raises(ValueError, match="must pair x with y, got 2 and 1"):
        figures.scatter({"a": ([0.1, 0.2], [0.5])}, x_label="", y_label="")
    with pytest.raises(ValueError, match="at most 6 groups, got 7"):
        figures.scatter({str(k): ([0], [0]) for k in range(7)}, x_label="", y_label="")
