"""Norms of perturbations: distances, projections onto a ball, and the steepest step in each norm.

All functions take perturbations or gradients (N, C, H, W) and treat each image on its own.
Distances are in pixel units; L0 counts pixels, not channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.contracts import Bounds, Norm, check_choice
from armsrace.deprecation import renamed

__all__ = [
    "BUDGETED", "batch_view", "blocked_by_box", "distances", "linear_maximizer_l1", "normalize",
    "per_row", "project", "project_l1_box", "steepest_direction",
]  # fmt: skip

BUDGETED: tuple[Norm, ...] = ("linf", "l2", "l1")
"""The norms in which an attack may have a budget epsilon."""


def distances(perturbations: Tensor, norm: Norm) -> Tensor:
    """The norm (N,) of each perturbation (N, C, H, W): "linf", "l2", "l1" or "l0"."""
    check_choice("norm", norm, (*BUDGETED, "l0"))
    if norm == "l0":
        return (perturbations != 0).any(dim=1).flatten(1).sum(dim=1).to(perturbations.dtype)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    return torch.linalg.vector_norm(perturbations.flatten(1), ord=order, dim=1)


def batch_view(values: Tensor) -> Tensor:
    """Values (N,) with shape (N, 1, 1, 1), so that they broadcast over images."""
    return values.view(-1, 1, 1, 1)


def per_row(epsilon: float | Tensor, columns: bool = False) -> float | Tensor:
    """A budget to compare with the norms (N,): a number as it is, one per image (N, …) as (N,).

    With columns it is to be compared with pixels (N, P): one per image as (N, 1).
    """
    if not isinstance(epsilon, Tensor):
        return epsilon
    return epsilon.flatten()[:, None] if columns else epsilon.flatten()


def project(perturbations: Tensor, norm: Norm, epsilon: float | Tensor) -> Tensor:
    """The nearest point in L2, for each perturbation, of the ball of radius epsilon.

    Args:
        perturbations: (N, C, H, W).
        norm: of the ball, "linf", "l2", "l1" or "l0". In L0 the pixels that change most are kept,
            and more of them where several change alike.
        epsilon: the radius, in pixel units (in L0, pixels): one number, or (N, 1, 1, 1).

    References:
        Duchi et al. 2008, "Efficient projections onto the l1-ball", Figure 1 (by sorting).
    """
    if norm == "linf":
        return perturbations.clamp(-epsilon, epsilon)  # type: ignore[arg-type]
    if norm == "l2":
        lengths = distances(perturbations, "l2").clamp_min(torch.finfo(perturbations.dtype).tiny)
        return perturbations * batch_view((per_row(epsilon) / lengths).clamp_max(1.0))
    if norm == "l0":
        squares = perturbations.square().sum(dim=1).flatten(1)
        counts = (torch.zeros_like(squares[:, 0]) + per_row(epsilon)).long()[:, None]
        largest = squares.topk(min(squares.shape[1], max(1, int(counts.max()))), dim=1).values
        smallest = largest.gather(1, (counts - 1).clamp(0, largest.shape[1] - 1))
        kept = (squares >= smallest) & (counts > 0)
        return perturbations * kept.view(len(perturbations), 1, *perturbations.shape[2:])
    # float64: a threshold rounded to float32 would leave the ball by one rounding error per pixel.
    magnitudes = perturbations.abs().flatten(1).double()
    ordered = magnitudes.sort(dim=1, descending=True).values
    radius = per_row(epsilon, columns=True)
    excess = ordered.cumsum(dim=1) - radius
    counts = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    support = (ordered * counts > excess).sum(dim=1, keepdim=True).clamp_min(1)
    threshold = (excess.gather(1, support - 1) / support).clamp_min(0)
    shrunk = (magnitudes - threshold).clamp_min(0).view_as(perturbations)
    return shrunk.to(perturbations.dtype) * perturbations.sign()


def project_l1_box(
    perturbations: Tensor, epsilon: float | Tensor, images: Tensor, bounds: Bounds
) -> Tensor:
    """The nearest point in L2, for each perturbation, of the L1 ball within the box.

    That is sign(δ) · min(max(abs(δ) − λ, 0), room), where room is how far the box lets a pixel
    move in its direction, and λ ≥ 0 is the smallest number that keeps the ball. Projecting onto the
    ball and then clipping would leave budget unused.

    Args:
        perturbations: δ (N, C, H, W).
        epsilon: the L1 radius, in pixel units: one number, or (N, 1, 1, 1).
        images: (N, C, H, W), what is perturbed.
        bounds: the box of valid pixels.

    References:
        Croce and Hein 2021, "Mind the box: ℓ₁-APGD for sparse adversarial attacks on image
        classifiers", Proposition 2.1.
    """
    # float64, as in `project`.
    radius = per_row(epsilon, columns=True)
    delta = perturbations.flatten(1).double()
    x, size = images.flatten(1).double(), delta.abs()
    room = torch.where(delta > 0, bounds.upper - x, x - bounds.lower)
    # The norm falls with λ, piecewise linearly: pixel i shrinks for λ from abs(δ) − room to abs(δ).
    starts, ends = (size - room).clamp_min(0), size
    breakpoints, order = torch.cat([starts, ends], dim=1).sort(dim=1)
    shrinking = torch.where(order < size.shape[1], 1, -1).cumsum(dim=1)[:, :-1]
    falls = shrinking * breakpoints.diff(dim=1)
    largest = torch.minimum(size, room).sum(dim=1, keepdim=True)
    norms_after = largest - falls.cumsum(dim=1)
    # The first interval of breakpoints at whose end the norm is small enough.
    place = (norms_after > radius).sum(dim=1, keepdim=True).clamp_max(falls.shape[1] - 1)
    count = shrinking.gather(1, place).clamp_min(1)
    spare = (norms_after + falls).gather(1, place) - radius
    threshold = breakpoints.gather(1, place) + spare / count
    threshold = torch.where(largest > radius, threshold, 0.0)
    kept = torch.minimum((size - threshold).clamp_min(0), room)
    return (delta.sign() * kept).to(perturbations.dtype).view_as(perturbations)


def normalize(gradients: Tensor, norm: Norm) -> Tensor:
    """Gradients (N, C, H, W) scaled to length one in the norm; zero stays zero.

    The gradient of a confident image may be 1e-20 long. The usual floor under the length would
    leave such an image where it is and call it robust, and the squares vanish in float32. So each
    gradient is divided by its largest entry first, which makes its length at least 1.
    """
    smallest = torch.finfo(gradients.dtype).tiny
    scaled = gradients / batch_view(distances(gradients, "linf").clamp_min(smallest))
    return scaled / batch_view(distances(scaled, norm).clamp_min(1.0))


def steepest_direction(gradients: Tensor, norm: Norm, images: Tensor, bounds: Bounds) -> Tensor:
    """The step of length one (N, C, H, W) along which a linear function increases fastest.

    * L∞: the sign of the gradient.
    * L2: the gradient divided by its length, or zero where it vanishes.
    * L1: the same amount for each of the 1 % of pixels with the largest gradient, among those that
      the box lets move. The exact answer, one pixel at a time, would need far more steps.

    Args:
        gradients: (N, C, H, W), of the linear function.
        norm: "linf", "l2" or "l1".
        images: (N, C, H, W), where the step starts; only L1 uses it.
        bounds: the box of valid pixels; only L1 uses it.

    References:
        Tramèr and Boneh 2019, "Adversarial training and robustness for multiple perturbations", §3
        (L1).
    """
    if norm == "linf":
        return gradients.sign()
    if norm == "l2":
        return normalize(gradients, "l2")
    blocked = blocked_by_box(gradients, images, bounds)
    grad = gradients.masked_fill(blocked, 0.0).flatten(1)
    count = max(1, grad.shape[1] // 100)
    largest = grad.abs().topk(count, dim=1).indices
    step = torch.zeros_like(grad).scatter(1, largest, grad.gather(1, largest).sign() / count)
    return step.view_as(gradients)


def linear_maximizer_l1(
    gradients: Tensor, epsilon: float | Tensor, images: Tensor, bounds: Bounds
) -> Tensor:
    """The perturbation in the L1 ball and the box that increases a linear function most.

    This is a fractional knapsack: the pixel with the largest gradient moves to the end of the box,
    then the next one, until epsilon is used up.

    Args:
        gradients: (N, C, H, W), of the linear function.
        epsilon: the L1 radius, in pixel units: one number, or (N, 1, 1, 1).
        images: (N, C, H, W), what is perturbed.
        bounds: the box of valid pixels.

    Returns:
        The perturbation (N, C, H, W).
    """
    grad = gradients.flatten(1)
    room = torch.where(gradients > 0, bounds.upper - images, images - bounds.lower).flatten(1)
    room = torch.where(grad == 0, 0.0, room)
    order = grad.abs().argsort(dim=1, descending=True, stable=True)
    ordered = room.gather(1, order)
    used_before = ordered.cumsum(dim=1) - ordered
    radius = per_row(epsilon, columns=True)
    amounts = torch.minimum(ordered, (radius - used_before).clamp_min(0))
    magnitudes = torch.zeros_like(grad).scatter(1, order, amounts)
    return (magnitudes * grad.sign()).view_as(gradients)


def blocked_by_box(gradients: Tensor, images: Tensor, bounds: Bounds) -> Tensor:
    """Bool: pixels at an end of the box that a step along the gradient would push out of it.

    gradients and images may have any shapes that broadcast.
    """
    return ((gradients > 0) & (images >= bounds.upper)) | (
        (gradients < 0) & (images <= bounds.lower)
    )


__getattr__ = renamed(
    __name__,
    {
        "column": "armsrace.norms.batch_view",
        "fullest_l1": "armsrace.norms.linear_maximizer_l1",
        "steepest": "armsrace.norms.steepest_direction",
        "unit": "armsrace.norms.normalize",
    },
)
