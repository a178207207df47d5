"""Where a damped Gauss–Newton descent of many small least-squares problems stands.

Pairs of an image and a class: images flat (N, P), reconstructions (N, K, P), latents (N, K, L).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from armsrace.defenses.class_search import Objective
from armsrace.defenses.prior_samples import ClassGenerators

_TINY = 1e-20


@dataclass(frozen=True)
class Problem:
    """What is minimised, for images (N, K or 1, P): the objective of the errors, shrunk towards 0.

    shrink: ε ≥ 0, broadcast to (N, K, P), or None.
    """

    generators: ClassGenerators
    pixels: Tensor
    objective: Objective
    shrink: Tensor | None

    def at(self, latents: Tensor) -> Point:
        """The point of these latents (N, K, L), with nothing learnt yet."""
        images, tangents = self.generators.linearized(latents)
        errors = images - self.pixels
        if self.shrink is not None:
            errors = errors.sign() * (errors.abs() - self.shrink).clamp_min(0)
            tangents = tangents * (errors != 0)[:, :, None]
        values, of_error, of_length = self._weighed(errors, latents)
        slope = of_error * _applied(tangents, errors) + of_length * latents
        curvature = of_error[..., None] * (tangents @ tangents.mT)
        curvature.diagonal(dim1=2, dim2=3).add_(of_length)
        missing = torch.zeros_like(curvature)
        return Point(latents, images, values, errors, tangents, of_error, slope, curvature, missing)

    def _weighed(self, errors: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objective (N, K), and its slopes (N, K, 1) in the squared error and length."""
        with torch.enable_grad():
            error = errors.square().sum(dim=2).requires_grad_()
            length = latents.square().sum(dim=2).requires_grad_()
            values = self.objective(error, length)
            slopes = torch.autograd.grad(values.sum(), (error, length), materialize_grads=True)
        return values.detach(), slopes[0][..., None], slopes[1][..., None]


@dataclass(frozen=True)
class Point:
    """Latents, what they draw, and the objective there, with half its slope and curvature.

    latents, slope (N, K, L); images, errors (N, K, P); values (N, K); tangents (N, K, L, P), how
    the errors change; weight (N, K, 1), what a squared error counts; curvature (N, K, L, L) after
    Gauss and Newton; missing (N, K, L, L), what the errors' own curvature adds to it, as learnt.
    """

    latents: Tensor
    images: Tensor
    values: Tensor
    errors: Tensor
    tangents: Tensor
    weight: Tensor
    slope: Tensor
    curvature: Tensor
    missing: Tensor

    def stepped(self, damping: Tensor, radius: float) -> Tensor:
        """Latents (N, K, L), no longer than the radius, at which the damped model is least.

        That of the learnt curvature, or where that is not convex, of Gauss and Newton's.
        """
        diagonal = self.curvature.diagonal(dim1=2, dim2=3)
        held = torch.diag_embed((damping * diagonal.mean(dim=2))[..., None].expand_as(diagonal))
        plain = self.curvature + held
        concave = torch.linalg.cholesky_ex(plain + self.missing)[1] != 0
        matrix = torch.where(concave[..., None, None], plain, plain + self.missing)
        return _least_within(matrix, _applied(matrix, self.latents) - self.slope, radius)

    def learning(self, before: Point) -> Point:
        """This point, with the missing curvature that the step from `before` shows.

        Dennis, Gay and Welsch 1981, §3: the symmetric secant update nearest to what was known,
        sized down first where it says too much.
        """
        moved, change = self.latents - before.latents, self.slope - before.slope
        bent = self.weight * _applied(self.tangents - before.tangents, self.errors)
        known = _applied(before.missing, moved)
        size = _dot(moved, bent).abs() / _dot(moved, known).abs().clamp_min(_TINY)
        size = size.clamp_max(1)
        lacking, scale = bent - size * known, _dot(change, moved)
        outer = lacking[..., None] * change[..., None, :]
        own = change[..., None] * change[..., None, :]
        scale, aligned = scale[..., None], _dot(lacking, moved)[..., None]
        update = (outer + outer.mT) / scale - aligned / scale.square() * own
        missing = size[..., None] * before.missing + update
        known_again = (scale > _TINY) & missing.isfinite().all(dim=3).all(dim=2)[..., None, None]
        return replace(self, missing=torch.where(known_again, missing, before.missing))

    def replaced(self, rows: Tensor, other: Point) -> Point:
        """This point, with the other's pairs chosen by a bool mask (N, K)."""
        ours, theirs = vars(self).values(), vars(other).values()
        return Point(*(
            torch.where(rows.view(*rows.shape, *[1] * (old.ndim - 2)), new, old)
            for old, new in zip(ours, theirs, strict=True)
        ))  # fmt: skip


def _least_within(matrix: Tensor, vector: Tensor, radius: float) -> Tensor:
    """The z of length at most the radius with the least ½ zᵀ A z − bᵀ z; A positive, (…, L, L).

    (A + μ)⁻¹ b, with the μ ≥ 0 at which its length is the radius, by bisection.
    """
    values, axes = torch.linalg.eigh(matrix)
    # Rounding can leave the least of them below 0.
    values = values.clamp_min(torch.finfo(values.dtype).eps * values[..., -1:])
    parts = _applied(axes.mT, vector)
    free, radii = parts / values, torch.full_like(values[..., :1], radius)
    outside = free.norm(dim=-1, keepdim=True) > radii
    if not outside.any():
        return _applied(axes, free)
    low, high = torch.zeros_like(radii), parts.norm(dim=-1, keepdim=True) / radii
    for _ in range(40):
        middle = (low + high) / 2
        longer = (parts / (values + middle)).norm(dim=-1, keepdim=True) > radii
        low, high = torch.where(longer, middle, low), torch.where(longer, high, middle)
    return _applied(axes, torch.where(outside, parts / (values + high), free))


def _applied(rows: Tensor, vector: Tensor) -> Tensor:
    """(…, L, M) times (…, M), (…, L)."""
    return (rows @ vector[..., None])[..., 0]


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(…, L) and (…, L) to (…, 1)."""
    return (first * second).sum(dim=-1, keepdim=True)
