"""Height maps share one scale and refuse what does not fit their axes."""

import pytest
import torch

from armsrace import figures

X, Y = torch.linspace(-1, 1, 5), torch.linspace(0, 1, 4)
LABELS = {"x_label": "along", "y_label": "across", "height_label": "loss, nats"}


def test_surfaces_share_the_scale_and_name_their_axes() -> None:
    low, high = X.expand(4, 5), 10 * Y[:, None].expand(4, 5)
    plot = figures.surfaces({"flat": low, "steep": high}, X, Y, **LABELS)
    first, second, bar = plot.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("flat", "steep")
    assert (first.get_xlabel(), first.get_ylabel()) == ("along", "across")
    assert bar.get_ylabel() == "loss, nats"
    limits = {axes.collections[0].get_clim() for axes in (first, second)}
    assert limits == {(-1.0, 10.0)}


def test_surfaces_of_a_constant_can_be_drawn() -> None:
    assert figures.surfaces({"flat": torch.zeros(4, 5)}, X, Y, **LABELS).png()


def test_surfaces_refuse_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"'wrong' must have shape \(4, 5\), got \(5, 4\)"):
        figures.surfaces({"wrong": torch.zeros(5, 4)}, X, Y, **LABELS)
    with pytest.raises(ValueError, match="at least one map"):
        figures.surfaces({}, X, Y, **LABELS)
