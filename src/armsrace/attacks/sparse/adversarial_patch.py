"""A round patch that fools a network wherever it is placed in an image.

Brown, Mané, Roy, Abadi and Gilmer 2017, §2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks.base import AttackContext, PerImageAdam, attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_count,
    check_images,
)
from armsrace.randomness import Keys, default_generator

Place = tuple[Tensor, Tensor, Tensor]
"""Centers (N, 2), radii (N,) and degrees (N,) of patches, as for `paste_patch`."""


def adversarial_patch(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    smallest: float = 0.25,
    degrees: float = 20.0,
    steps: int = 100,
    step_size: float | None = None,
    batch_size: int = 10,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """All images with one patch that was trained on all of them, each at a new place.

    The patch belongs to the whole batch, and so do the results.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget, the most pixels of an image that the patch may cover (L0).
        smallest: as for `train_patch`, like all that follow.
        degrees: the largest rotation, to either side.
        steps: of Adam.
        step_size: of Adam, in pixel units; a twentieth of the box by default.
        batch_size: images that share a step.
        targets: (N,) int64 wanted classes, all of them the same for the paper's patch.
        bounds: the box of valid pixels.
        generator: source of the order of the images and of the places; a new one seeded 0 by
            default.

    Returns:
        Each image with the patch, whether or not it is adversarial so.

    Differences from the paper:
        * Those of `train_patch`.

    Cost:
        That of `train_patch`, and one forward pass per image.

    References:
        Brown, Mané, Roy, Abadi and Gilmer 2017, "Adversarial patch", §2.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.adversarial_patch(
        ...     model, digits.images, digits.labels, epsilon=200, steps=20
        ... )
        >>> (found.images != digits.images).flatten(1).sum(dim=1).max() <= 200
        tensor(True)
    """
    _check(epsilon, smallest, degrees, steps, step_size, batch_size)
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        patch, counts = _train(
            context, epsilon, smallest, degrees, steps, step_size, batch_size, generator
        )
        x = context.images
        pasted = _paste(x, patch, _places(x, epsilon, smallest, degrees, generator))
        return context.result(bounds.clip(pasted), counts, counts)


def train_patch(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    smallest: float = 0.25,
    degrees: float = 20.0,
    steps: int = 100,
    step_size: float | None = None,
    batch_size: int = 10,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A patch that the network takes for its target, or for no image's label, wherever it is seen.

    max over patches p of E[log Pr(target | A(p, x, place, scale, rotation))], where A places the
    patch in an image x. Each step estimates the gradient on a few images, at new places (EOT).

    Args:
        model: images to logits (N, K). For a patch that is to be printed, let the model begin with
            a camera (`physical.camera`).
        images: (N, C, H, W), pixels inside `bounds`; the patch should work on others, too.
        labels: (N,) int64, the classes to leave where there are no targets.
        epsilon: the most pixels of an image that the patch covers (L0).
        smallest: the least of them, as a fraction of epsilon; areas are drawn between the two.
        degrees: the largest rotation, to either side.
        steps: of Adam.
        step_size: of Adam, in pixel units; a twentieth of the box by default.
        batch_size: images that share a step.
        targets: (N,) int64 wanted classes, all of them the same for the paper's patch.
        bounds: the box of valid pixels.
        generator: source of the order of the images and of the places; a new one seeded 0 by
            default.

    Returns:
        The patch (C, S, S), a square of which the inscribed disc is used. S is its diameter in
        pixels at epsilon, so that it is never enlarged.

    Differences from the paper:
        * The paper leaves the optimizer open, and does not give the ranges of scale and rotation.
        * The paper can keep the patch near a given picture, for camouflage; this one does not.
        * It lies wholly inside the image.

    Cost:
        One forward and one backward pass per image of a batch and step.

    References:
        Brown, Mané, Roy, Abadi and Gilmer 2017, "Adversarial patch", §2. Athalye, Engstrom, Ilyas
        and Kwok 2018, "Synthesizing robust adversarial examples", §2.1 (EOT).

    Example:
        >>> from armsrace.attacks.sparse.adversarial_patch import train_patch
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> train_patch(model, digits.images, digits.labels, epsilon=200, steps=20).shape
        torch.Size([1, 15, 15])
    """
    _check(epsilon, smallest, degrees, steps, step_size, batch_size)
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        patch, _ = _train(
            context, epsilon, smallest, degrees, steps, step_size, batch_size, generator
        )
        return patch[0].to(images.dtype)


def paste_patch(
    images: Tensor,
    patch: Tensor,
    centers: Tensor,
    radii: Tensor,
    degrees: Tensor,
    *,
    bounds: Bounds = UNIT,
) -> Tensor:
    """Images with a round patch in each, differentiable in both.

    Args:
        images: (N, C, H, W), pixels inside `bounds`.
        patch: (C, S, S), of which the inscribed disc is shown.
        centers: (N, 2), to the right and down from the upper left corner, in pixels.
        radii: (N,), in pixels; a disc hides the pixels whose centers it contains.
        degrees: (N,), by how much the patch is turned, counterclockwise.
        bounds: the box of valid pixels.

    Returns:
        (N, C, H, W).

    Example:
        >>> from armsrace.attacks.sparse.adversarial_patch import paste_patch
        >>> black, white = torch.zeros(1, 1, 4, 4), torch.ones(1, 9, 9)
        >>> paste_patch(black, white, torch.tensor([[2.0, 1.0]]), torch.ones(1), torch.zeros(1))
        tensor([[[[0., 1., 1., 0.],
                  [0., 1., 1., 0.],
                  [0., 0., 0., 0.],
                  [0., 0., 0., 0.]]]])
    """
    check_images(images, bounds)
    for name, value, shape in (
        ("patch", patch, (images.shape[1], *patch.shape[-1:], *patch.shape[-1:])),
        ("centers", centers, (len(images), 2)),
        ("radii", radii, (len(images),)),
        ("degrees", degrees, (len(images),)),
    ):
        if value.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
    return _paste(images, patch[None], (centers, radii, degrees))


def _train(
    context: AttackContext, epsilon: float, smallest: float, degrees: float, steps: int,
    step_size: float | None, batch_size: int, generator: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The patch (1, C, S, S), and how many steps each image was in (N,)."""
    x, bounds = context.images, context.bounds
    side = max(1, math.ceil(2 * _radius(epsilon)))
    gray = torch.full_like(x[:1, :, :1, :1], (bounds.lower + bounds.upper) / 2)
    adam = PerImageAdam(
        gray.expand(1, -1, side, side), bounds.width / 20 if step_size is None else step_size
    )
    counts = torch.zeros_like(context.labels)
    order = counts[:0]
    for _ in range(steps):
        if not len(order):
            order = torch.randperm(len(x), generator=generator, device=generator.device)
            order = order.to(x.device)
        batch, order = order[:batch_size], order[batch_size:]
        part = context.select(batch)
        place = _places(part.images, epsilon, smallest, degrees, generator)
        with torch.enable_grad():
            patch = adam.variable()
            x_adv = _paste(part.images, patch, place)
            # Interpolation rounds, which may leave the box by the last bit.
            _, grad = part.loss_and_grad(bounds.clip(x_adv))
            # The chain rule from images to patch; −, since Adam descends and the loss is to rise.
            (slope,) = torch.autograd.grad(x_adv, patch, -grad)
        adam.step(slope)
        adam.x = bounds.clip(adam.x)
        counts[batch] += 1
    return adam.x, counts


def _places(
    x: Tensor, epsilon: float, smallest: float, degrees: float, generator: torch.Generator
) -> Place:
    """For each image a disc of at most epsilon pixels inside it, and a rotation."""
    draws = Keys(x).uniform((4,), generator)
    radii = _radius(epsilon * (smallest + (1 - smallest) * draws[:, 0]))
    sides = x.new_tensor(x.shape[:1:-1])
    room = (sides - 2 * radii[:, None]).clamp_min(0)
    centers = (sides - room) / 2 + room * draws[:, 1:3]
    return centers, radii, degrees * (2 * draws[:, 3] - 1)


def _radius(area: float | Tensor) -> Tensor:
    """The radius of a disc that contains the centers of at most `area` pixels, wherever it is.

    The squares around these centers lie in a disc that is wider by half a diagonal.
    """
    return (torch.as_tensor(area) / math.pi).sqrt() - math.sqrt(0.5)


def _paste(x: Tensor, patch: Tensor, place: Place) -> Tensor:
    """As `paste_patch`, of a patch (1, C, S, S)."""
    centers, radii, degrees = place
    height, width = x.shape[2:]
    down, right = torch.meshgrid(
        *(torch.arange(size, dtype=x.dtype, device=x.device) + 0.5 for size in (height, width)),
        indexing="ij",
    )
    across, below = right - centers[:, 0, None, None], down - centers[:, 1, None, None]
    reach = radii.clamp_min(0)[:, None, None]
    inside = (across**2 + below**2 <= reach**2) & (radii > 0)[:, None, None]
    angle = torch.deg2rad(degrees)[:, None, None]
    # grid_sample asks where in the patch, from −1 to 1, each pixel of the image lies.
    cosine, sine = angle.cos(), angle.sin()
    turned = torch.stack([cosine * across - sine * below, sine * across + cosine * below], dim=3)
    grid = turned / reach.clamp_min(0.5)[..., None]
    seen = functional.grid_sample(
        patch.expand(len(x), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )
    return torch.where(inside[:, None], seen, x)


def _check(
    epsilon: float, smallest: float, degrees: float, steps: int, step_size: float | None,
    batch_size: int,
) -> None:  # fmt: skip
    """Check the options of both functions."""
    check_at_least("epsilon", epsilon, 0)
    check_at_least("smallest", smallest, 0)
    if smallest > 1:
        raise ValueError(f"smallest must be <= 1, got {smallest:g}")
    check_at_least("degrees", degrees, 0)
    check_count("steps", steps)
    if step_size is not None:
        check_at_least("step_size", step_size, 1e-6)
    check_count("batch_size", batch_size)
