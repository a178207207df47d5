"""What a print and a photograph do to an image, differentiably (Kurakin et al. 2017, §3 and §4).

Images are (N, C, H, W) in [0, 1]; what comes out is clipped to [0, 1] again. A parameter is one
number for all images, or a tensor (N,) with one for each; each function raises ValueError or
TypeError naming the argument and the rule it breaks. The paper photographs paper; `camera` stands
in for that, and its ranges are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks.jpeg import compress
from armsrace.attacks.problem import posed
from armsrace.attacks.randomness import normal, uniform
from armsrace.contracts import UNIT, Model, check_at_least, check_images

Parameter = float | Tensor


def blur(images: Tensor, sigma: Parameter) -> Tensor:
    """A Gaussian blur of standard deviation sigma >= 0, in pixels; weights are cut at the edge."""
    widths = _each("sigma", sigma, images, 0)
    rows, columns = (_smoothing(size, widths) for size in images.shape[2:])
    return UNIT.clip(rows @ images @ columns.transpose(2, 3))


def noise(images: Tensor, sigma: Parameter, generator: torch.Generator) -> Tensor:
    """Normal noise of standard deviation sigma >= 0 added to each pixel on its own."""
    return UNIT.clip(images + _each("sigma", sigma, images, 0) * normal(images, generator))


def brightness(images: Tensor, shift: Parameter) -> Tensor:
    """The same shift, of either sign, added to every pixel."""
    return UNIT.clip(images + _each("shift", shift, images))


def contrast(images: Tensor, factor: Parameter) -> Tensor:
    """Every pixel's distance to the mean of its channel multiplied by factor >= 0."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return UNIT.clip(mean + _each("factor", factor, images, 0) * (images - mean))


def jpeg(images: Tensor, quality: Parameter) -> Tensor:
    """JPEG at quality 1 to 100 of libjpeg's scale; see `attacks.jpeg.compress`."""
    return compress(images, _each("quality", quality, images, 1).flatten())


def affine(
    images: Tensor, degrees: Parameter, scale: Parameter, shift: tuple[Parameter, Parameter]
) -> Tensor:
    """Turned anticlockwise about the centre, enlarged by scale > 0, then moved.

    shift is (right, down) in pixels. Bilinear; black comes in from outside.
    """
    angle = torch.deg2rad(_each("degrees", degrees, images).flatten())
    size = _each("scale", scale, images, 1e-3).flatten()
    right, down = (_each("shift", part, images).flatten() for part in shift)
    height, width = images.shape[2:]
    cosine, sine = angle.cos() / size, angle.sin() / size
    # grid_sample asks where each output pixel comes from, in half widths and half heights.
    inverse = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)
    halves = images.new_tensor([width / 2, height / 2])
    moved = torch.stack([right, down], dim=1)[:, :, None]
    linear = inverse * halves / halves[:, None]
    origin = -(inverse @ moved) / halves[:, None]
    theta = torch.cat([linear, origin], dim=2)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return UNIT.clip(functional.grid_sample(images, grid, align_corners=False))


def camera(images: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """A synthetic photograph: each image through all of the above, with parameters of its own.

    At strength 1: turned by up to 5°, resized by up to 5 % and moved by up to 4 % of the side,
    blurred by up to 0.8 pixels, contrast changed by up to 30 % and brightness by up to 0.1, noise
    of up to 0.05, JPEG of quality 95 down to 50. Strength scales all ranges; at 0 only rounding to
    8 bits and JPEG at 95 remain. Draws belong to the image as in `randomness`.
    """
    check_at_least("strength", strength, 0)
    check_images(images)

    def up_to(limit: float) -> Tensor:
        return strength * limit * uniform(images, generator).flatten(1)[:, 0]

    def around(limit: float) -> Tensor:
        return 2 * up_to(limit) - strength * limit

    shift = around(0.04 * images.shape[3]), around(0.04 * images.shape[2])
    photograph = affine(images, around(5), (1 + around(0.05)).clamp_min(0.1), shift)
    photograph = blur(photograph, up_to(0.8))
    photograph = contrast(photograph, (1 + around(0.3)).clamp_min(0))
    photograph = brightness(photograph, around(0.1))
    photograph = noise(photograph, up_to(0.05), generator)
    return jpeg(photograph, (95 - up_to(45)).clamp_min(1))


@torch.no_grad()
def destruction_rate(
    model: Model,
    images: Tensor,
    adversarials: Tensor,
    labels: Tensor,
    transform: Callable[[Tensor], Tensor],
) -> float:
    """The share of adversarial images (N, C, H, W) that transform makes harmless (§3.1, eq. 1).

    Counted are the images that the model classifies right, labels (N,), and whose adversarial it
    classifies wrong; destroyed are those whose transformed adversarial it classifies right again.
    Raises ValueError where no image counts: the rate is then undefined.
    """
    check_images(adversarials)
    if adversarials.shape != images.shape:
        raise ValueError(
            f"adversarials must have shape {tuple(images.shape)}, got {tuple(adversarials.shape)}"
        )
    with posed(model, images, labels, None, UNIT) as problem:
        views = (problem.images, adversarials, transform(adversarials))
        clean, attacked, transformed = (~problem.fooled(problem.logits(view)) for view in views)
    counted = clean & ~attacked
    if not counted.any():
        raise ValueError("adversarials must fool the model on an image it classifies right")
    return float(transformed[counted].double().mean())


def _each(name: str, value: Parameter, images: Tensor, lower: float = -torch.inf) -> Tensor:
    """A parameter as (N, 1, 1, 1), after the checks that every transformation makes."""
    check_images(images)
    values = torch.as_tensor(value, dtype=images.dtype, device=images.device)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(images)):
        raise ValueError(
            f"{name} must be a number or of shape ({len(images)},), got {tuple(values.shape)}"
        )
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    check_at_least(name, float(values.min()), lower)
    return values.expand(len(images)).view(-1, 1, 1, 1)


def _smoothing(size: int, sigmas: Tensor) -> Tensor:
    """Matrices (N, 1, size, size) that replace each sample by the weighted mean of all."""
    places = torch.arange(size, dtype=sigmas.dtype, device=sigmas.device)
    gaps = (places[:, None] - places) ** 2
    # A blur of a thousandth of a pixel is none, and has no division by zero.
    return torch.softmax(-gaps / (2 * sigmas.clamp_min(1e-3) ** 2), dim=3)
