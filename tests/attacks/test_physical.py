"""Print-and-photograph transformations: against references, and differentiable."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from armsrace.attacks import physical
from armsrace.attacks.physical import Parameter

Transform = Callable[[Tensor], Tensor]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


TRANSFORMS: dict[str, Transform] = {
    "blur": lambda images: physical.blur(images, 0.7),
    "noise": lambda images: physical.noise(images, 0.1, _generator()),
    "brightness": lambda images: physical.brightness(images, 0.1),
    "contrast": lambda images: physical.contrast(images, 0.8),
    "jpeg": lambda images: physical.jpeg(images, 70),
    "affine": lambda images: physical.affine(images, 5.0, 1.1, (0.5, -0.5)),
    "perspective": lambda images: physical.perspective(images, 0.1, -0.05),
    "moire": lambda images: physical.moire(images, 0.4, 1.1, 3.0),
    "screen": lambda images: physical.camera(images, _generator(), screen=True),
    "camera": lambda images: physical.camera(images, _generator()),
}


@pytest.fixture
def images(digits: tuple[Tensor, Tensor]) -> Tensor:
    return digits[0][:20].double()


def test_blur_is_scipys_inside(images: Tensor) -> None:
    ours = physical.blur(images, 1.3)[:, 0, 8:20, 8:20].numpy()
    for image, blurred in zip(images[:, 0].numpy(), ours, strict=True):
        expected = gaussian_filter(image, 1.3, truncate=20, mode="constant")[8:20, 8:20]
        np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_nothing_asked_nothing_done(images: Tensor) -> None:
    for same in (
        physical.blur(images, 0), physical.noise(images, 0, _generator()),
        physical.brightness(images, 0), physical.contrast(images, 1),
        physical.affine(images, 0, 1, (0, 0)), physical.perspective(images, 0, 0),
        physical.moire(images, 0, 1.1, 3),
    ):  # fmt: skip
        torch.testing.assert_close(same, images, rtol=0, atol=1e-12)


def test_brightness_and_contrast_by_hand() -> None:
    image = torch.tensor([0.2, 0.4, 0.6, 1.0]).double().view(1, 1, 2, 2)
    brighter = physical.brightness(image, 0.3)
    assert brighter.flatten().tolist() == pytest.approx([0.5, 0.7, 0.9, 1.0])
    stronger = physical.contrast(image, 2.0)  # The mean is 0.55.
    assert stronger.flatten().tolist() == pytest.approx([0.0, 0.25, 0.65, 1.0])


def test_affine_turns_counterclockwise_enlarges_and_moves(images: Tensor) -> None:
    turned = physical.affine(images, 90, 1, (0, 0))
    torch.testing.assert_close(turned, torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-9)
    moved = physical.affine(images, 0, 1, (2, -1))
    torch.testing.assert_close(moved[:, :, :-1, 2:], images[:, :, 1:, :-2], rtol=0, atol=1e-9)
    assert moved[..., :2].abs().max() < 1e-9, "black comes in from outside"
    half = physical.affine(images[:, :, 2:12], 180, 1, (0, 0))
    torch.testing.assert_close(half, images[:, :, 2:12].flip(2, 3), rtol=0, atol=1e-9)
    square = torch.zeros(1, 1, 8, 16).double()
    square[..., 3:5, 7:9] = 1
    twice = physical.affine(square, 0, 2, (0, 0))
    assert float(twice.sum()) == pytest.approx(16) and twice[0, 0, 3:5, 7:9].min() == 1


def test_affine_keeps_angles_on_oblong_images() -> None:
    """A bar of 9 pixels turned by 90 degrees is a bar of 9 pixels, not one of 9 half widths."""
    bar = torch.zeros(1, 1, 11, 31).double()
    bar[0, 0, 5, 11:20] = 1
    turned = physical.affine(bar, 90, 1, (0, 0))[0, 0]
    assert torch.allclose(turned[1:10, 15], torch.ones(9).double())
    assert float(turned.sum()) == pytest.approx(9)


def test_perspective_is_pillows(images: Tensor) -> None:
    """Pillow's perspective, whose eight numbers are for pixels counted from the upper left."""
    right, down = 0.12, -0.2
    oblong = images[:3, :, 4:24]
    height, width = oblong.shape[2:]
    ours = physical.perspective(oblong, right, down)
    # Coordinates from −1 to 1 as affine functions of pixels: x = 2 p / width − 1.
    to_unit = np.array([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]])
    whole = np.linalg.inv(to_unit) @ [[1, 0, 0], [0, 1, 0], [right, down, 1]] @ to_unit
    numbers = (whole / whole[2, 2]).flatten()[:8].tolist()
    for image, seen in zip(oblong[:, 0].numpy(), ours[:, 0].numpy(), strict=True):
        expected = Image.fromarray(image.astype(np.float32)).transform(
            (width, height), Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BILINEAR
        )
        # At the edge Pillow repeats pixels where we mix in black.
        np.testing.assert_allclose(seen[2:-2, 2:-2], np.asarray(expected)[2:-2, 2:-2], atol=1e-5)


def test_perspective_enlarges_the_near_edge() -> None:
    """Bars left and right of the center: a tilt of 1/4 makes them 1/(1 ∓ 1/4)² as wide, nearly."""
    bars = torch.zeros(1, 1, 64, 256).double()
    bars[..., 44:52] = bars[..., 204:212] = 1
    row = physical.perspective(bars, 0.25, 0.0)[0, 0, 32]
    left, right = row[:128].sum(), row[128:].sum()
    # A source coordinate x is seen at x / (1 − 0.25 x).
    ends = [2 * edge / 256 - 1 for edge in (44, 52, 204, 212)]
    seen = [128 * x / (1 - 0.25 * x) for x in ends]
    assert float(left) == pytest.approx(seen[1] - seen[0], abs=0.1)
    assert float(right) == pytest.approx(seen[3] - seen[2], abs=0.1)


def test_moire_by_hand() -> None:
    white = torch.ones(1, 3, 2, 4).double()
    screen = physical.moire(white, 0.5, 4.0, 0.0)[0]
    # Red shines as cos 0, cos π/2, cos π, cos 3π/2 say; the rows are alike.
    assert screen[0, 0].tolist() == pytest.approx([1, 0.75, 0.5, 0.75])
    torch.testing.assert_close(screen[:, 0], screen[:, 1], rtol=0, atol=1e-12)
    green = [1 - 0.25 * (1 - np.cos(2 * np.pi * (k / 4 + 1 / 3))) for k in range(4)]
    assert screen[1, 0].tolist() == pytest.approx(green)
    upright = physical.moire(white, 0.5, 4.0, 90.0)[0, 0]
    assert upright[:, 0].tolist() == pytest.approx([1, 0.75]), "stripes run to the right"


def test_moire_has_the_beat_of_pitch_and_pixel() -> None:
    """Stripes every 1.25 pixels are sampled once a pixel: a fringe every 5, as 1.25 / 0.25."""
    row = physical.moire(torch.ones(1, 1, 1, 40).double(), 1.0, 1.25, 0.0)[0, 0, 0]
    torch.testing.assert_close(row[5:], row[:-5], rtol=0, atol=1e-12)
    assert torch.fft.rfft(row - row.mean()).abs().argmax() == 8, "8 fringes on 40 pixels"


def test_each_image_has_its_own_parameter(images: Tensor) -> None:
    values = torch.linspace(0.5, 1.5, len(images), dtype=torch.float64)
    functions: tuple[Callable[[Tensor, Parameter], Tensor], ...] = (
        physical.blur, physical.contrast, physical.brightness,
        lambda some, value: physical.jpeg(some, 40 * value),
        lambda some, value: physical.affine(some, 20 * value, value, (value, 0.0)),
        lambda some, value: physical.noise(some, value, _generator()),
        lambda some, value: physical.perspective(some, 0.3 * value, -0.1 * value),
        lambda some, value: physical.moire(some, 0.5 * value, value, 4 * value),
    )  # fmt: skip
    for function in functions:
        together = function(images, values)
        for place in (0, 7, 19):
            alone = function(images[[place]], float(values[place]))[0]
            torch.testing.assert_close(together[place], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_output_stays_in_the_box_and_changes(name: str, images: Tensor) -> None:
    for given in (images, images.float()):
        out = TRANSFORMS[name](given)
        assert out.shape == given.shape and out.dtype == given.dtype
        assert out.min() >= 0 and out.max() <= 1
        assert (out - given).abs().mean() > 1e-3, "nothing happened"


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradient_passes(name: str, images: Tensor) -> None:
    given = (0.2 + 0.6 * images).requires_grad_()
    weights = torch.randn(given.shape, generator=_generator(), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * TRANSFORMS[name](given)).sum(), given)
    assert torch.isfinite(gradient).all()
    assert (gradient.flatten(1).norm(dim=1) > 0.1 * weights.flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize(
    "name", ["blur", "brightness", "contrast", "affine", "perspective", "moire"]
)
def test_gradient_is_right(name: str) -> None:
    small = torch.rand(2, 1, 4, 5, generator=_generator(), dtype=torch.float64)
    inside = (0.3 + 0.4 * small).requires_grad_()
    assert torch.autograd.gradcheck(TRANSFORMS[name], inside)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda x: physical.blur(x, -1.0), "sigma must be >= 0, got -1"),
        (lambda x: physical.blur(x, float("nan")), "sigma must be finite, got NaN"),
        (lambda x: physical.noise(x, -0.1, _generator()), "sigma must be >= 0, got -0.1"),
        (lambda x: physical.brightness(x, float("inf")), "shift must be finite, got NaN or inf"),
        (lambda x: physical.contrast(x, -2.0), "factor must be >= 0, got -2"),
        (lambda x: physical.jpeg(x, 0), "quality must be >= 1, got 0"),
        (lambda x: physical.jpeg(x, 101), "quality must lie in [1, 100]"),
        (lambda x: physical.jpeg(x[:, [0, 0]], 50), "images must have 1 or 3 channels for JPEG"),
        (lambda x: physical.affine(x, 0, 0, (0, 0)), "scale must be >= 0.001, got 0"),
        (lambda x: physical.perspective(x, 0.6, -0.5), "|right| + |down| must be < 1, got 1.1"),
        (lambda x: physical.moire(x, 1.5, 1, 0), "depth must be <= 1, got 1.5"),
        (lambda x: physical.moire(x, 0.5, 0, 0), "pitch must be >= 0.001, got 0"),
        (lambda x: physical.camera(x, _generator(), -1), "strength must be >= 0, got -1"),
        (
            lambda x: physical.blur(x, torch.ones(3)),
            "sigma must be a number or of shape (20,), got (3,)",
        ),
        (lambda x: physical.blur(2 * x, 1), "images must lie in [0.0, 1.0]"),
        (lambda x: physical.camera(x[0], _generator()), "images must have shape (N, C, H, W)"),
    ],
)
def test_bad_parameters_are_named(call: Transform, rule: str, images: Tensor) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        call(images)
