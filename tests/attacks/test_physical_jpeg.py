"""JPEG against Pillow's, which is libjpeg's."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from armsrace.attacks import physical


@pytest.fixture
def images(digits: tuple[Tensor, Tensor]) -> Tensor:
    return digits[0][:20].double()


def _pillow(image: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(file)).astype(float) / 255


@pytest.mark.parametrize("quality", [1, 10, 25, 49, 50, 75, 90, 100])
def test_jpeg_is_pillows(quality: int, images: Tensor) -> None:
    levels = (images[:, 0] * 255).round().byte().numpy()
    expected = np.stack([_pillow(image, quality) for image in levels])
    ours = physical.jpeg(images, quality)[:, 0].numpy()
    # libjpeg's integer transform and ours round now and then to neighbouring coefficients. At
    # quality 1 a black block decodes to half a level: the last bit decides between two.
    assert np.abs(ours - expected).mean() < (1 if quality == 1 else 0.3) / 255
    assert quality > 90 or np.abs(ours - levels / 255).mean() > 1 / 255, "nothing was lost"


@pytest.mark.parametrize("quality", [25, 75, 95])
def test_colour_jpeg_is_pillows(quality: int, images: Tensor) -> None:
    colours = torch.cat([images[:6], images[6:12], images[12:18]], dim=1)
    levels = (colours * 255).round().byte().permute(0, 2, 3, 1).numpy()
    expected = np.stack([_pillow(image, quality) for image in levels])
    ours = physical.jpeg(colours, quality).permute(0, 2, 3, 1).numpy()
    assert np.abs(ours - expected).mean() < 0.7 / 255


def test_jpeg_pads_any_size(images: Tensor) -> None:
    odd = images[:, :, 3:20, 2:25]
    levels = (odd[:, 0] * 255).round().byte().numpy()
    expected = np.stack([_pillow(np.ascontiguousarray(image), 75) for image in levels])
    assert np.abs(physical.jpeg(odd, 75)[:, 0].numpy() - expected).mean() < 0.3 / 255


def test_jpeg_passes_the_gradient_straight_through(images: Tensor) -> None:
    """Rounding counts as the identity, and between two inverse transforms nothing else is left."""
    given = (0.3 + 0.4 * images).requires_grad_()
    weights = torch.randn(
        given.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    (gradient,) = torch.autograd.grad((weights * physical.jpeg(given, 90)).sum(), given)
    inner = (slice(None), slice(None), slice(0, 24), slice(0, 24))
    torch.testing.assert_close(gradient[inner], weights[inner], rtol=0, atol=1e-9)
