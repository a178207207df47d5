"""What a print and a photograph do to an image, differentiably (Kurakin et al. 2017, §3 and §4).

`camera` is the whole of it; `affine`, `perspective`, `moire`, `blur`, `contrast`, `brightness`,
`noise` and `jpeg` are its parts, and `destruction_rate` measures what they leave of an attack. The
paper photographs paper; `camera` stands in for that, and its ranges are ours.

Images are (N, C, H, W) in [0, 1]; results are clipped to [0, 1]. A parameter is one number for all
images, or a tensor (N,) with one per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks.base import attack_context
from armsrace.contracts import UNIT, Model, check_at_least, check_images
from armsrace.randomness import Keys, normal

Parameter = float | Tensor
"""One number for all images, or (N,), one per image."""
Transform = Callable[[Tensor], Tensor]


def camera(
    images: Tensor, generator: torch.Generator, strength: float = 1.0, *, screen: bool = False
) -> Tensor:
    """A synthetic photograph: each image through all the parts, with parameters of its own.

    At strength 1 an image is turned by up to 5°, resized by up to 5 % and shifted by up to 4 % of
    the side, seen at an angle that resizes its edges by up to 5 %, blurred by up to 0.8 pixels, its
    contrast changed by up to 30 % and its brightness by up to 0.1, with noise of up to 0.05 and
    JPEG of quality 95 down to 50.

    Args:
        images: (N, C, H, W), C = 1 or 3, pixels in [0, 1].
        generator: the source of the parameters and the noise. An image's draws do not depend on
            the rest of the batch.
        strength: scales all ranges; at 0 only rounding to 8 bits and JPEG at 95 remain.
        screen: photograph a screen in place of a print, with a moiré of depth up to 0.3 between
            stripes and pixels whose distances differ by up to 10 % and whose angles by up to 5°.

    Returns:
        (N, C, H, W) in [0, 1], differentiable in the images.

    References:
        Kurakin, Goodfellow and Bengio 2017, "Adversarial examples in the physical world", §3 and
        §4.
    """
    check_at_least("strength", strength, 0)
    check_images(images)

    keys = Keys(images)

    def up_to(limit: float) -> Tensor:
        return strength * limit * keys.uniform((1,), generator)[:, 0]

    def around(limit: float) -> Tensor:
        return 2 * up_to(limit) - strength * limit

    shift = around(0.04 * images.shape[3]), around(0.04 * images.shape[2])
    turned = _affine(images, around(5), (1 + around(0.05)).clamp_min(0.1), shift)
    # One interpolation for both: a second one would blur again.
    photograph = _warp(images, turned @ _perspective(images, around(0.05), around(0.05)))
    if screen:
        depth, pitch = up_to(0.3).clamp_max(1), (1 + around(0.1)).clamp_min(0.1)
        photograph = moire(photograph, depth, pitch, around(5))
    photograph = blur(photograph, up_to(0.8))
    photograph = contrast(photograph, (1 + around(0.3)).clamp_min(0))
    photograph = brightness(photograph, around(0.1))
    photograph = noise(photograph, up_to(0.05), generator)
    return jpeg(photograph, (95 - up_to(45)).clamp_min(1))


def parts(generator: torch.Generator, strength: float = 1.0) -> dict[str, Transform]:
    """Each part of the `camera` alone, by its name, at the end of its range.

    Args:
        generator: the source of the noise.
        strength: as for `camera`.

    Returns:
        {name: images (N, C, H, W) to images}.
    """
    check_at_least("strength", strength, 0)

    def moved(images: Tensor) -> Tensor:
        shift = (0.04 * strength * images.shape[3], 0.04 * strength * images.shape[2])
        return affine(images, 5 * strength, 1 + 0.05 * strength, shift)

    tilt, k = 0.05 * strength, strength
    return {
        "blur": lambda images: blur(images, 0.8 * k),
        "noise": lambda images: noise(images, 0.05 * k, generator),
        "JPEG": lambda images: jpeg(images, max(95 - 45 * k, 1)),
        "brightness, up": lambda images: brightness(images, 0.1 * k),
        "brightness, down": lambda images: brightness(images, -0.1 * k),
        "contrast, up": lambda images: contrast(images, 1 + 0.3 * k),
        "contrast, down": lambda images: contrast(images, max(1 - 0.3 * k, 0)),
        "rotation, scale, shift": moved,
        "perspective": lambda images: perspective(images, tilt, tilt),
        "moiré": lambda images: moire(images, min(0.3 * k, 1), 1 + 0.1 * k, 5 * k),
    }


def affine(
    images: Tensor, degrees: Parameter, scale: Parameter, shift: tuple[Parameter, Parameter]
) -> Tensor:
    """Turned counterclockwise about the center, enlarged by scale > 0, then shifted.

    shift is (right, down) in pixels. Interpolation is bilinear; outside the image is black.
    """
    return _warp(images, _affine(images, degrees, scale, shift))


def perspective(images: Tensor, right: Parameter, down: Parameter) -> Tensor:
    """Seen at an angle: the right edge enlarged by a factor 1 + right, the left by 1 − right.

    down does the same to the bottom and the top; the center stays, and |right| + |down| < 1.
    """
    return _warp(images, _perspective(images, right, down))


def _affine(
    images: Tensor, degrees: Parameter, scale: Parameter, shift: tuple[Parameter, Parameter]
) -> Tensor:
    """The matrices (N, 3, 3) of `affine`, for `_warp`."""
    angle = torch.deg2rad(_parameter("degrees", degrees, images).flatten())
    size = _parameter("scale", scale, images, 1e-3).flatten()
    right, down = (_parameter("shift", part, images).flatten() for part in shift)
    height, width = images.shape[2:]
    cosine, sine = angle.cos() / size, angle.sin() / size
    inverse = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)
    halves = images.new_tensor([width / 2, height / 2])
    offset = torch.stack([right, down], dim=1)[:, :, None]
    linear = inverse * halves / halves[:, None]
    origin = -(inverse @ offset) / halves[:, None]
    last = images.new_tensor([0, 0, 1]).expand(len(images), 1, 3)
    return torch.cat([torch.cat([linear, origin], dim=2), last], dim=1)


def _perspective(images: Tensor, right: Parameter, down: Parameter) -> Tensor:
    """The matrices (N, 3, 3) of `perspective`, for `_warp`."""
    named = (("right", right), ("down", down))
    tilts = [_parameter(name, value, images).flatten() for name, value in named]
    steepest = float((tilts[0].abs() + tilts[1].abs()).max())
    if steepest >= 1:
        raise ValueError(f"|right| + |down| must be < 1, got {steepest:g}")
    top = torch.eye(3, dtype=images.dtype, device=images.device)[:2].expand(len(images), 2, 3)
    bottom = torch.stack([*tilts, torch.ones_like(tilts[0])], dim=1)[:, None]
    return torch.cat([top, bottom], dim=1)


def _warp(images: Tensor, homography: Tensor) -> Tensor:
    """Images whose pixel at (x, y) comes from homography (N, 3, 3) times (x, y, 1).

    Coordinates run from −1 to 1 over the width and the height.
    """
    same = torch.eye(2, 3, dtype=images.dtype, device=images.device)[None]
    places = functional.affine_grid(same, [1, 1, *images.shape[2:]], align_corners=False)[0]
    sources = functional.pad(places, (0, 1), value=1.0) @ homography[:, None].transpose(2, 3)
    grid = sources[..., :2] / sources[..., 2:]
    return UNIT.clip(functional.grid_sample(images, grid, align_corners=False))


def moire(images: Tensor, depth: Parameter, pitch: Parameter, degrees: Parameter) -> Tensor:
    """The fringes that a camera sees on a screen: its pixels sample the screen's stripes of color.

    A stripe of channel c shines as 1 − depth (1 − cos 2π(u / pitch + c / C)) / 2, where u is the
    distance in pixels from the image's left upper corner, across stripes that are turned
    counterclockwise by `degrees`. Where the pitch is near 1 pixel, stripes are too narrow for the
    camera, and what it samples has a period of pitch / |1 − pitch|.

    depth is in [0, 1], pitch > 0 in pixels.
    """
    depths = _parameter("depth", depth, images, 0)
    if depths.max() > 1:
        raise ValueError(f"depth must be <= 1, got {float(depths.max()):g}")
    pitches = _parameter("pitch", pitch, images, 1e-3)
    angle = torch.deg2rad(_parameter("degrees", degrees, images))
    channels, height, width = images.shape[1:]

    def upward(count: int) -> Tensor:
        return torch.arange(count, dtype=images.dtype, device=images.device)

    across = upward(width) * angle.cos() - upward(height)[:, None] * angle.sin()
    phases = across / pitches + upward(channels)[:, None, None] / channels
    return UNIT.clip(images * (1 - depths * (1 - torch.cos(2 * math.pi * phases)) / 2))


def blur(images: Tensor, sigma: Parameter) -> Tensor:
    """A Gaussian blur of standard deviation sigma >= 0, in pixels; weights end at the edge."""
    sigmas = _parameter("sigma", sigma, images, 0)
    return UNIT.clip(_smoothed(_smoothed(images, sigmas, 2), sigmas, 3))


def _smoothed(images: Tensor, sigmas: Tensor, dim: int) -> Tensor:
    """Each sample along a dimension replaced by the Gaussian-weighted mean of those around it."""
    size = images.shape[dim]
    # At nine standard deviations a weight is below the rounding of float64.
    reach = min(math.ceil(9 * float(sigmas.max())), size - 1)
    around = (0, 0, reach, reach) if dim == 2 else (reach, reach)
    padded, inside = (
        functional.pad(part, around) for part in (images, torch.ones_like(images[:1, :1]))
    )
    total, mass = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    # A blur of a thousandth of a pixel is none, and has no division by zero.
    double_variance = 2 * sigmas.clamp_min(1e-3) ** 2
    for offset in range(-reach, reach + 1):
        weight = torch.exp(-(offset**2) / double_variance)
        total = total + weight * padded.narrow(dim, reach + offset, size)
        mass = mass + weight * inside.narrow(dim, reach + offset, size)
    return total / mass


def contrast(images: Tensor, factor: Parameter) -> Tensor:
    """Every pixel's distance to the mean of its channel multiplied by factor >= 0."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return UNIT.clip(mean + _parameter("factor", factor, images, 0) * (images - mean))


def brightness(images: Tensor, shift: Parameter) -> Tensor:
    """The same shift, of either sign, added to every pixel."""
    return UNIT.clip(images + _parameter("shift", shift, images))


def noise(images: Tensor, sigma: Parameter, generator: torch.Generator) -> Tensor:
    """Normal noise of standard deviation sigma >= 0 added independently to each pixel value."""
    return UNIT.clip(images + _parameter("sigma", sigma, images, 0) * normal(images, generator))


def _parameter(name: str, value: Parameter, images: Tensor, lower: float = -torch.inf) -> Tensor:
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


# JPEG quantization, ITU-T T.81 (1992), Annex K, Tables K.1 and K.2: luminance and chrominance.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)  # fmt: skip
# ITU-T T.871 (2011), §7: red, green, blue to luma and the two color differences.
YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.299 / 1.772, -0.587 / 1.772, 0.886 / 1.772),
    (0.701 / 1.402, -0.587 / 1.402, -0.114 / 1.402),
)
BLOCK = 8  # pixels along each side of a block


def jpeg(images: Tensor, quality: Parameter) -> Tensor:
    """JPEG compression at quality 1 to 100 of libjpeg's scale; see `compress`."""
    return compress(images, _parameter("quality", quality, images, 1).flatten())


def compress(images: Tensor, qualities: Tensor) -> Tensor:
    """Images (N, C, H, W) in [0, 1] after JPEG compression at qualities (N,) from 1 to 100.

    One channel is luminance; three are red, green and blue, without chroma subsampling. Rounding
    passes the gradient on unchanged. libjpeg's own integer cosine transform rounds differently.
    """
    channels, height, width = images.shape[1:]
    if channels not in (1, 3):
        raise ValueError(f"images must have 1 or 3 channels for JPEG, got {channels}")
    if qualities.min() < 1 or qualities.max() > 100:
        raise ValueError(f"quality must lie in [1, 100], got {qualities.tolist()}")
    padding = (0, -width % BLOCK, 0, -height % BLOCK)
    pixels = _rounded(functional.pad(images, padding, mode="replicate") * 255)
    colors = images.new_tensor(YCBCR) if channels == 3 else images.new_ones(1, 1)
    planes = _rounded(torch.einsum("dc,nchw->ndhw", colors, pixels - 128))
    blocks = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)
    cosines, steps = _cosines(images), _steps(images, qualities)
    coefficients = _rounded(cosines @ blocks @ cosines.T / steps) * steps
    blocks = _rounded(cosines.T @ coefficients @ cosines)
    planes = blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3).clamp(-128, 127)
    pixels = _rounded(torch.einsum("cd,ndhw->nchw", torch.linalg.inv(colors), planes)) + 128
    return (pixels[..., :height, :width] / 255).clamp(0, 1)


def _rounded(values: Tensor) -> Tensor:
    """Rounded values with the gradient of the identity."""
    return values + (values.round() - values).detach()


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform of eight samples (8, 8)."""
    frequency = torch.arange(BLOCK, dtype=like.dtype, device=like.device)[:, None]
    cosines = torch.cos((2 * frequency.T + 1) * frequency * math.pi / (2 * BLOCK)) / 2
    return torch.cat([cosines[:1] / math.sqrt(2), cosines[1:]])


def _steps(images: Tensor, qualities: Tensor) -> Tensor:
    """Quantization steps (N, C, 1, 1, 8, 8), scaled with quality as libjpeg does (jcparam.c)."""
    tables = images.new_tensor([LUMINANCE, CHROMINANCE, CHROMINANCE][: images.shape[1]])
    percent = torch.where(qualities < 50, (5000 / qualities).floor(), 200 - 2 * qualities)
    scaled = (tables[None] * percent.view(-1, 1, 1, 1) + 50) / 100
    return scaled.floor().clamp(1, 255)[:, :, None, None]


@torch.no_grad()
def destruction_rate(
    model: Model,
    images: Tensor,
    adversarials: Tensor,
    labels: Tensor,
    transform: Transform,
) -> float:
    """The fraction of adversarial images that a transformation makes harmless.

    Counted are the images that the model classifies correctly and whose adversarial image it
    misclassifies. Destroyed are those whose transformed adversarial image it classifies correctly.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels in [0, 1].
        adversarials: (N, C, H, W), what an attack made of them.
        labels: (N,) int64, the true classes.
        transform: images to images, such as a `camera`.

    Returns:
        The destruction rate, in [0, 1].

    Raises:
        ValueError: where no image is counted: the rate is then undefined.

    Cost:
        Three forward passes per image.

    References:
        Kurakin, Goodfellow and Bengio 2017, §3.1, equation 1.
    """
    check_images(adversarials)
    if adversarials.shape != images.shape:
        raise ValueError(
            f"adversarials must have shape {tuple(images.shape)}, got {tuple(adversarials.shape)}"
        )
    with attack_context(model, images, labels, None, UNIT) as context:
        versions = (context.images, adversarials, transform(adversarials))
        clean, attacked, transformed = (
            ~context.is_adversarial(context.logits(version)) for version in versions
        )
    counted = clean & ~attacked
    if not counted.any():
        raise ValueError("adversarials must fool the model on an image it classifies correctly")
    return float(transformed[counted].double().mean())
