"""Sizes of perturbations, the steepest step in each norm, and projection onto its ball.

All take perturbations or gradients (N, C, H, W) and treat each image alone. Sizes are in pixel
units; L0 counts pixels, not channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.contracts import Bounds, Norm, check_choice

BUDGETED: tuple[Norm, ...] = ("linf", "l2", "l1")


def distances(perturbations: Tensor, norm: Norm) -> Tensor:
    """The size (N,) of each perturbation (N, C, H, W) in "linf", "l2", "l1" or "l0"."""
    check_choice("norm", norm, (*BUDGETED, "l0"))
    if norm == "l0":
        return (perturbations != 0).any(dim=1).flatten(1).sum(dim=1).to(perturbations.dtype)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    return torch.linalg.vector_norm(perturbations.flatten(1), ord=order, dim=1)


def column(values: Tensor) -> Tensor:
    """Values (N,) shaped (N, 1, 1, 1), to scale images with."""
    return values.view(-1, 1, 1, 1)


def project(perturbations: Tensor, norm: Norm, epsilon: float) -> Tensor:
    """The nearest point (in L2) of the ball of radius epsilon for each perturbation.

    L1 by sorting: Duchi et al. 2008, Figure 1.
    """
    if norm == "linf":
        return perturbations.clamp(-epsilon, epsilon)
    if norm == "l2":
        sizes = distances(perturbations, "l2").clamp_min(torch.finfo(perturbations.dtype).tiny)
        return perturbations * column((epsilon / sizes).clamp_max(1.0))
    # One rounded threshold for all pixels would leave the ball by 784 rounding errors: float64.
    magnitudes = perturbations.abs().flatten(1).double()
    ordered = magnitudes.sort(dim=1, descending=True).values
    excess = ordered.cumsum(dim=1) - epsilon
    counts = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    kept = (ordered * counts > excess).sum(dim=1, keepdim=True).clamp_min(1)
    threshold = (excess.gather(1, kept - 1) / kept).clamp_min(0)
    shrunk = (magnitudes - threshold).clamp_min(0).view_as(perturbations)
    return shrunk.to(perturbations.dtype) * perturbations.sign()


def unit(gradients: Tensor, norm: Norm) -> Tensor:
    """Gradients (N, C, H, W) each of length one in the norm, however short; zero stays zero.

    A confident image's gradient may be 1e-20 long. A floor under the length, as is usual, would
    leave it where it stands and call it robust; its squares vanish in float32. So it is first
    divided by its largest entry, which makes the length at least 1.
    """
    smallest = torch.finfo(gradients.dtype).tiny
    scaled = gradients / column(distances(gradients, "linf").clamp_min(smallest))
    return scaled / column(distances(scaled, norm).clamp_min(1.0))


def steepest(gradients: Tensor, norm: Norm, images: Tensor, bounds: Bounds) -> Tensor:
    """The unit step that raises a linear function fastest in the norm, one an image.

    L∞: the gradient's sign. L2: the gradient over its length (zero where it vanishes). L1: equal
    shares for the hundredth of the pixels with the greatest slope that the box still lets move
    (Tramèr and Boneh 2019, §3: one pixel at a time, the exact answer, would need far more steps).
    """
    if norm == "linf":
        return gradients.sign()
    if norm == "l2":
        return unit(gradients, "l2")
    slopes = _movable(gradients, images, bounds).flatten(1)
    count = max(1, slopes.shape[1] // 100)
    chosen = slopes.abs().topk(count, dim=1).indices
    shares = torch.zeros_like(slopes).scatter(1, chosen, slopes.gather(1, chosen).sign() / count)
    return shares.view_as(gradients)


def fullest_l1(gradients: Tensor, epsilon: float, images: Tensor, bounds: Bounds) -> Tensor:
    """The perturbation that raises a linear function most, within the L1 ball and the box.

    A knapsack of pixels: the steepest moves to the end of the box, then the next, until epsilon is
    spent. gradients and images are (N, C, H, W); epsilon is in pixel units.
    """
    slopes = gradients.flatten(1)
    room = torch.where(gradients > 0, bounds.upper - images, images - bounds.lower).flatten(1)
    room = torch.where(slopes == 0, 0.0, room)
    order = slopes.abs().argsort(dim=1, descending=True, stable=True)
    ordered = room.gather(1, order)
    before = ordered.cumsum(dim=1) - ordered
    spent = torch.minimum(ordered, (epsilon - before).clamp_min(0))
    moves = torch.zeros_like(slopes).scatter(1, order, spent)
    return (moves * slopes.sign()).view_as(gradients)


def _movable(gradients: Tensor, images: Tensor, bounds: Bounds) -> Tensor:
    blocked = ((gradients > 0) & (images >= bounds.upper)) | (
        (gradients < 0) & (images <= bounds.lower)
    )
    return gradients.masked_fill(blocked, 0.0)
