"""The matrix shows its numbers and gaps; each panel shows its own curve."""

import numpy as np
import pandas as pd
import pytest

from armsrace.figures import heat_map, small_multiples

TABLE = pd.DataFrame(
    [[0.0, 0.254, 1.0], [0.5, np.nan, 0.75]],
    ["none", "some"],
    pd.MultiIndex.from_tuples([("L∞", "a"), ("L∞", "b"), ("L2", "a")]),
)


def test_heat_map_prints_every_share_and_a_dash_for_a_gap() -> None:
    plot = heat_map(TABLE)
    axes = plot.axes[0]
    assert [text.get_text() for text in axes.texts] == [
        "0", "25", "100", "50", "–", "75", "L∞", "L2",
    ]  # fmt: skip
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "some"]
    # On the darkest cells ink is white; one line parts the two norms.
    assert axes.texts[2].get_color() == "white" != axes.texts[0].get_color()
    assert [line.get_xdata()[0] for line in axes.lines] == [1.5]
    assert plot.png()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("table", "message"),
    [(TABLE * 2, r"all in \[0, 1\]"), (TABLE.iloc[:0], "at least one fraction")],
)
def test_heat_map_refuses(table, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        heat_map(table)


def test_columns_of_one_level_have_no_groups() -> None:
    axes = heat_map(TABLE.droplevel(0, axis=1)).axes[0]
    assert len(axes.texts) == TABLE.size and not axes.lines
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "a"]


def test_each_panel_has_all_curves_and_its_own_in_color() -> None:
    curves = {name: ([0, 1, 2], [1, level / 9, 0]) for level, name in enumerate("abcde")}
    plot = small_multiples(curves, norm="l2", budget=1.5, columns=3)
    shown = [axes for axes in plot.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == list("abcde")
    for axes, (_, y) in zip(shown, curves.values(), strict=True):
        assert len(axes.lines) == 2 and len(axes.collections[0].get_paths()) == len(curves)
        assert list(axes.lines[-2].get_ydata()) == y and axes.lines[-1].get_xdata()[0] == 1.5


def test_small_multiples_refuses() -> None:
    with pytest.raises(ValueError, match="norm must be one of"):
        small_multiples({"a": ([0], [1])}, norm="l3")
    with pytest.raises(ValueError, match="at least one curve"):
        small_multiples({})
