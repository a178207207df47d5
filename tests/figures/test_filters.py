"""A mosaic shows every filter where it should, on one scale."""

import numpy as np
import pytest
import torch

from armsrace import figures

DRAWS = torch.Generator().manual_seed(7)


def test_a_mosaic_shows_every_filter_on_one_scale() -> None:
    maps = torch.rand(5, 4, 3, generator=DRAWS)
    plot = figures.filter_maps({"attack": maps, "noise": maps / 2})
    for axes, values in zip(plot.axes, (maps, maps / 2), strict=True):
        (image,) = axes.images
        shown = np.asarray(image.get_array().filled(np.nan))
        assert shown.shape == (2 * 6, 3 * 5) and image.get_clim() == (0, float(maps.max()))
        tiles = shown.reshape(2, 6, 3, 5).transpose(0, 2, 1, 3).reshape(6, 6, 5)
        np.testing.assert_array_equal(tiles[:5, 1:-1, 1:-1], values)
        assert np.isnan(tiles[5]).all() and np.isnan(tiles[:, 0]).all()
    assert plot.axes[0].get_xlabel() == f"white 0, black {float(maps.max()):.3g}"
    assert figures.filter_maps({"nothing": torch.zeros(1, 2, 2)}).png()


@pytest.mark.parametrize("maps", [{}, {"flat": torch.zeros(4, 4)}])
def test_a_mosaic_refuses(maps) -> None:
    with pytest.raises(ValueError, match="at least one mosaic"):
        figures.filter_maps(maps)
