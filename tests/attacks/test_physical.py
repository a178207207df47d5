"""Print-and-photograph transformations: against references, differentiable, and eq. 1 by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from armsrace.attacks import physical
from armsrace.attacks.physical import Parameter

Digits = tuple[Tensor, Tensor]
Transform = Callable[[Tensor], Tensor]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


TRANSFORMS: dict[str, Transform] = {
    "blur": lambda images: physical.blur(images, 0.7),
    "noise": lambda images: physical.noise(images, 0.1, _generator()),
    "brightness": lambda images: physical.brightness(images, 0.1),
    "contrast": lambda images: physical.contrast(images, 0.8),
    "jpeg": lambda images: physical.jpeg(images, 70),
    "affine": lambda images: physical.affine(images, 5.0, 1.1, (0.5, -0.5)),
    "camera": lambda images: physical.camera(images, _generator()),
}


@pytest.fixture
def images(digits: Digits) -> Tensor:
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
    # libjpeg's integer transform and ours round now and then to neighbouring coefficients.
    assert np.abs(ours - expected).mean() < 0.3 / 255
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


def test_blur_is_scipys_inside(images: Tensor) -> None:
    ours = physical.blur(images, 1.3)[:, 0, 8:20, 8:20].numpy()
    for image, blurred in zip(images[:, 0].numpy(), ours, strict=True):
        expected = gaussian_filter(image, 1.3, truncate=20, mode="constant")[8:20, 8:20]
        np.testing.assert_allclose(blurred, expected, atol=1e-6)


def test_nothing_asked_nothing_done(images: Tensor) -> None:
    for same in (
        physical.blur(images, 0), physical.noise(images, 0, _generator()),
        physical.brightness(images, 0), physical.contrast(images, 1),
        physical.affine(images, 0, 1, (0, 0)),
    ):  # fmt: skip
        torch.testing.assert_close(same, images, rtol=0, atol=1e-12)


def test_brightness_and_contrast_by_hand() -> None:
    image = torch.tensor([0.2, 0.4, 0.6, 1.0]).double().view(1, 1, 2, 2)
    brighter = physical.brightness(image, 0.3).flatten().tolist()
    assert brighter == pytest.approx([0.5, 0.7, 0.9, 1.0])
    # The mean is 0.55.
    stronger = physical.contrast(image, 2.0).flatten().tolist()
    assert stronger == pytest.approx([0.0, 0.25, 0.65, 1.0])


def test_affine_turns_anticlockwise_enlarges_and_moves(images: Tensor) -> None:
    turned = physical.affine(images, 90, 1, (0, 0))
    torch.testing.assert_close(turned, torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-9)
    moved = physical.affine(images, 0, 1, (2, -1))
    torch.testing.assert_close(moved[:, :, :-1, 2:], images[:, :, 1:, :-2], rtol=0, atol=1e-9)
    assert moved[:, :, :, :2].abs().max() < 1e-9, "black comes in from outside"
    oblong = torch.rand(1, 1, 4, 10, generator=_generator(), dtype=torch.float64)
    half = physical.affine(oblong, 180, 1, (0, 0))
    torch.testing.assert_close(half, oblong.flip(2, 3), rtol=0, atol=1e-9)
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


def test_each_image_has_its_own_parameter(images: Tensor) -> None:
    values = torch.linspace(0.5, 1.5, len(images), dtype=torch.float64)
    functions: tuple[Callable[[Tensor, Parameter], Tensor], ...] = (
        physical.blur, physical.contrast, physical.brightness,
        lambda some, value: physical.jpeg(some, 40 * value),
        lambda some, value: physical.affine(some, 20 * value, value, (value, 0.0)),
        lambda some, value: physical.noise(some, value, _generator()),
    )  # fmt: skip
    for function in functions:
        together = function(images, values)
        for place in (0, 7, 19):
            alone = function(images[place : place + 1], float(values[place]))
            torch.testing.assert_close(together[place], alone[0], rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("name", ["blur", "brightness", "contrast", "affine"])
def test_gradient_is_right(name: str) -> None:
    small = torch.rand(2, 1, 4, 5, generator=_generator(), dtype=torch.float64)
    inside = (0.3 + 0.4 * small).requires_grad_()
    assert torch.autograd.gradcheck(TRANSFORMS[name], inside)


def test_jpeg_passes_the_gradient_straight_through(images: Tensor) -> None:
    """Rounding counts as the identity, and between two inverse transforms nothing else is left."""
    given = (0.3 + 0.4 * images).requires_grad_()
    weights = torch.randn(given.shape, generator=_generator(), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * physical.jpeg(given, 90)).sum(), given)
    inner = (slice(None), slice(None), slice(0, 24), slice(0, 24))
    torch.testing.assert_close(gradient[inner], weights[inner], rtol=0, atol=1e-9)


def test_camera_repeats_by_seed_and_ignores_batch_mates(images: Tensor) -> None:
    together = physical.camera(images, _generator(3))
    assert torch.equal(together, physical.camera(images, _generator(3)))
    assert (together - physical.camera(images, _generator(4))).abs().mean() > 1e-3
    for place in (0, 11):
        alone = physical.camera(images[place : place + 1], _generator(3))
        torch.testing.assert_close(alone[0], together[place], rtol=0, atol=1e-9)


def test_camera_gets_worse_with_strength(images: Tensor) -> None:
    lost = [
        float((physical.camera(images, _generator(), strength) - images).abs().mean())
        for strength in (0.0, 0.5, 1.0, 3.0)
    ]
    assert lost == sorted(lost) and 0 < lost[0] < 0.01 and lost[3] > 2 * lost[1]


def test_camera_leaves_most_digits_legible(trained: nn.Module, digits: Digits) -> None:
    with torch.no_grad():
        seen = trained(physical.camera(digits[0], _generator())).argmax(dim=1)
    assert (seen == digits[1]).double().mean() > 0.75


class _Brightness(nn.Module):
    """Class 1 where the only pixel is above a half, else class 0."""

    def forward(self, images: Tensor) -> Tensor:
        value = images.flatten(1)[:, :1]
        return torch.cat([0 * value, 10 * (value - 0.5)], dim=1)


def test_destruction_rate_by_hand() -> None:
    """Five images of class 0; pixels say what is predicted before, after attack, after photo."""
    clean = torch.tensor([0.1, 0.1, 0.1, 0.9, 0.1]).view(5, 1, 1, 1)
    attacked = torch.tensor([0.6, 0.7, 0.9, 0.9, 0.2]).view(5, 1, 1, 1)
    labels = torch.zeros(5, dtype=torch.int64)
    # Counted: the first three. Darkened by 0.25 the first two are class 0 again.
    rate = physical.destruction_rate(
        _Brightness(), clean, attacked, labels, lambda images: images - 0.25 * (images > 0.3)
    )
    assert rate == pytest.approx(2 / 3)
    assert physical.destruction_rate(_Brightness(), clean, attacked, labels, torch.clone) == 0.0
    none = lambda images: torch.zeros_like(images)  # noqa: E731
    assert physical.destruction_rate(_Brightness(), clean, attacked, labels, none) == 1.0


def test_destruction_rate_is_undefined_without_adversarials() -> None:
    clean, labels = torch.full((2, 1, 1, 1), 0.1), torch.zeros(2, dtype=torch.int64)
    rule = "adversarials must fool the model on an image it classifies right"
    with pytest.raises(ValueError, match=rule):
        physical.destruction_rate(_Brightness(), clean, clean, labels, torch.clone)
    with pytest.raises(ValueError, match=re.escape("adversarials must have shape (2, 1, 1, 1)")):
        physical.destruction_rate(_Brightness(), clean, clean[:1], labels, torch.clone)


@pytest.mark.parametrize(
    "call, rule",
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
