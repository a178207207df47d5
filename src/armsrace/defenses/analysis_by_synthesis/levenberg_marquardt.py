"""Exact inference: each class's latents by Levenberg–Marquardt, to an optimum of the cost.

Marquardt 1963, "An algorithm for least-squares estimation of nonlinear parameters". The cost
‖x − G(z)‖² + ‖z‖² / 2 is a nonlinear least-squares problem with few unknowns, the L latents.

Images and reconstructions are flat, (N, P) and (N, K, P); latents are (N, K, L). A pair is one
image with one class: N · K of them are searched for at once, each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from armsrace.contracts import check_at_least, check_count
from armsrace.defenses.analysis_by_synthesis.inference import (
    AdamSearch,
    ClassGenerators,
    Found,
    Objective,
    evidence,
    within,
)

POWELL = 0.2
"""The fraction of the curvature along a step that an update keeps, at least (Powell 1978)."""


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Newton steps from several starts per pair, the latents held within a radius.

    The objective has L unknowns and P + L residuals, so that the Jacobian J of G gives most of the
    curvature, JᵀJ (Gauss and Newton). A step that lowers nothing is taken back and damped more. A
    pair is finished once the next step's predicted gain would be lost in rounding: the decoders
    then run only for the others.

    Args:
        steps: at most.
        radius: the largest ‖z‖ allowed.
        starts: per pair.
        screening: after this fraction of the steps each pair keeps its best start.
        damping: at the beginning, as a fraction of the mean curvature.

    Differences from the paper:
        * J is computed at the first start only: with eight latents it costs nine passes through a
          decoder, a gradient two. From there the curvature is learned from how the gradient changes
          from step to step, by the update of Broyden, Fletcher, Goldfarb and Shanno, damped so that
          it stays convex (Powell 1978). This covers what Gauss–Newton leaves out, the residuals'
          own curvature: the residuals of digits of another class are large, and Gauss–Newton alone
          is slow there.

    Cost:
        Per start and step one forward and one backward pass, only for pairs under search; L + 1
        forward ones at the beginning.

    References:
        Marquardt 1963; Powell 1978.
    """

    steps: int = 20
    radius: float = 5.0
    starts: int = 3
    screening: float = 0.25
    damping: float = 0.1

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_count("starts", self.starts)
        for name in ("radius", "damping"):
            check_at_least(name, getattr(self, name), 1e-9)
        if not 0 <= self.screening <= 1:
            raise ValueError(f"screening must lie in [0, 1], got {self.screening:g}")

    @torch.no_grad()
    def __call__(
        self, generators: ClassGenerators, pixels: Tensor, starts: Tensor,
        objective: Objective = evidence, shrink: Tensor | None = None,
    ) -> Found:  # fmt: skip
        """The best latents for images (N, P), from starts (N, R, K, L).

        pixels: or an image per class, (N, K, P).
        shrink: ε ≥ 0, broadcast to (N, K, P), by which each pixel's error is brought nearer to 0
            before it is squared.
        """
        each = pixels if pixels.ndim == 3 else pixels[:, None]
        problem = _Problem(generators, each, objective, shrink)
        first, *others = within(starts, self.radius).unbind(dim=1)
        best, steps = problem.start(first, self.damping), self.steps
        if others:
            screening = round(self.screening * self.steps)
            steps -= screening
            best = self._descend(problem, best, screening)
            for start in others:
                pairs = problem.start(start, self.damping, best)
                pairs = self._descend(problem, pairs, screening)
                best = best.where(pairs.values < best.values, pairs)
        best = self._descend(problem, best, steps)
        return Found(best.latents, best.images, best.values)

    def _descend(self, problem: _Problem, pairs: _Pairs, steps: int) -> _Pairs:
        """So many steps of all pairs that are not finished."""
        eps = torch.finfo(pairs.values.dtype).eps
        for _ in range(steps):
            z, gain = pairs.propose(self.radius)
            active = gain > eps * pairs.values.abs()
            if not active.any():
                break
            rows = _active_rows(active)
            part = pairs.select(rows)
            trial = problem.evaluate(_select(z, rows), pairs, rows)
            pairs = pairs.put(rows, part.where(_select(active, rows), part.accept_or_reject(trial)))
        return pairs


@dataclass(frozen=True)
class PolishedSearch:
    """The paper's search, continued by Levenberg–Marquardt to an optimum, and never above it.

    Args:
        adam: the paper's search.
        polish: of the same radius, from where the first ends.
    """

    adam: AdamSearch = AdamSearch()  # noqa: RUF009
    polish: LevenbergMarquardt = LevenbergMarquardt(steps=8, starts=1)
    starts: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if self.polish.radius != self.adam.radius:
            raise ValueError(
                f"polish.radius must be adam's {self.adam.radius:g}, got {self.polish.radius:g}"
            )

    def __call__(
        self, generators: ClassGenerators, pixels: Tensor, starts: Tensor,
        objective: Objective = evidence,
    ) -> Found:  # fmt: skip
        """The best latents for images (N, P), from the first of starts (N, R, K, L)."""
        near = self.adam(generators, pixels, starts, objective)
        return self.polish(generators, pixels, near.latents[:, None], objective)


@dataclass(frozen=True)
class _Trial:
    """Latents z (N, K, L), G(z) (N, K, P), and the objective there.

    errors, values (N, K): ‖x − G(z)‖² and the objective. half_grad (N, K, L): half its gradient.
    """

    latents: Tensor
    images: Tensor
    errors: Tensor
    values: Tensor
    half_grad: Tensor


@dataclass(frozen=True)
class _Pairs(_Trial):
    """The best latents z of each pair so far, and a model of the objective around them.

    curvature B (N, K, L, L), positive definite: at z + s the objective is about
    values + 2 half_grad · s + sᵀ B s. damping (N, K).
    """

    curvature: Tensor
    damping: Tensor

    def propose(self, radius: float) -> tuple[Tensor, Tensor]:
        """The minimum of the damped model within the radius (N, K, L), and the predicted gain."""
        damping = self.damping * self.curvature.diagonal(dim1=2, dim2=3).mean(dim=2)
        matrix = self.curvature + torch.diag_embed(damping[..., None].expand_as(self.latents))
        vector = _matvec(matrix, self.latents) - self.half_grad
        z = within(_minimize_in_ball(matrix, vector, radius), radius)
        s = z - self.latents
        return z, -_dot(s, 2 * self.half_grad + _matvec(self.curvature, s))[..., 0]

    def accept_or_reject(self, trial: _Trial) -> _Pairs:
        """The trial where it is lower, else these pairs; either way the curvature it reveals.

        B ← B − B s sᵀ B / (sᵀ B s) + y yᵀ / (sᵀ y), with s the step and y the change in gradient.
        """
        s, y = trial.latents - self.latents, trial.half_grad - self.half_grad
        bs = _matvec(self.curvature, s)
        sbs, sy = _dot(s, bs), _dot(s, y)
        # Powell's damping: sᵀ y stays positive, and so does B.
        theta = ((1 - POWELL) * sbs / (sbs - sy)).where(sy < POWELL * sbs, 1)
        y = theta * y + (1 - theta) * bs
        updated = self.curvature - _outer(bs) / sbs[..., None] + _outer(y) / _dot(s, y)[..., None]
        finite = updated.isfinite().all(dim=3).all(dim=2)[..., None, None]
        curvature = torch.where(finite, updated, self.curvature)
        lower = trial.values < self.values
        damping = (self.damping * torch.where(lower, 0.2, 5.0)).clamp(1e-6, 1e6)
        tried = _Pairs(**vars(trial), curvature=curvature, damping=damping)
        return replace(self.where(lower, tried), curvature=curvature, damping=damping)

    def where(self, mask: Tensor, other: _Pairs) -> _Pairs:
        """The other's pairs where a bool mask (N, K) says so, else these."""
        return _Pairs(*(
            torch.where(mask.view(*mask.shape, *[1] * (ours.ndim - 2)), theirs, ours)
            for ours, theirs in zip(vars(self).values(), vars(other).values(), strict=True)
        ))  # fmt: skip

    def select(self, rows: Tensor) -> _Pairs:
        """The pairs of the images at rows (n, K), other ones for each class."""
        return _Pairs(*(_select(value, rows) for value in vars(self).values()))

    def put(self, rows: Tensor, part: _Pairs) -> _Pairs:
        """These, with the pairs at rows (n, K) replaced."""
        columns = _columns(rows)
        return _Pairs(*(
            value.index_put((rows, columns), new)
            for value, new in zip(vars(self).values(), vars(part).values(), strict=True)
        ))  # fmt: skip


@dataclass(frozen=True)
class _Problem:
    """What is minimized, for images (N, K or 1, P): the objective of the errors, shrunk toward 0.

    shrink: ε ≥ 0, broadcast to (N, K, P), or None.
    """

    generators: ClassGenerators
    pixels: Tensor
    objective: Objective
    shrink: Tensor | None

    def start(self, latents: Tensor, damping: float, known: _Pairs | None = None) -> _Pairs:
        """All pairs at z (N, K, L), with the curvature of known pairs, or Gauss and Newton's."""
        full = torch.full_like(latents[..., 0], damping)
        if known is not None:
            rows = torch.arange(len(latents), device=latents.device)[:, None]
            trial = self.evaluate(latents, known, rows.expand(latents.shape[:2]))
            return _Pairs(**vars(trial), curvature=known.curvature, damping=full)
        images, jacobian = self.generators.linearized(latents)
        residuals = _soft_threshold(images - self.pixels, self.shrink)
        if self.shrink is not None:
            jacobian = jacobian * (residuals != 0)[:, :, None]
        errors = residuals.square().sum(dim=2)
        values, by_error, by_length = self._derivatives(errors, latents)
        half_grad = by_error * _matvec(jacobian, residuals) + by_length * latents
        curvature = by_error[..., None] * (jacobian @ jacobian.mT)
        curvature.diagonal(dim1=2, dim2=3).add_(by_length)
        return _Pairs(latents, images, errors, values, half_grad, curvature, full)

    def evaluate(self, latents: Tensor, pairs: _Pairs, rows: Tensor) -> _Trial:
        """The pairs of the images at rows (n, K), at new latents (n, K, L)."""
        pixels = _select(self.pixels.expand_as(pairs.images), rows)
        shrink = self.shrink
        if shrink is not None:
            shrink = _select(shrink.expand_as(pairs.images), rows)
        z = latents.clone().requires_grad_()
        with torch.enable_grad():
            images = self.generators.draw(z)
            errors = _soft_threshold(images - pixels, shrink).square().sum(dim=2)
        # An objective may hold numbers of each image: it is evaluated for all pairs.
        places = rows, _columns(rows)
        derivatives = self._derivatives(
            pairs.errors.index_put(places, errors.detach()),
            pairs.latents.index_put(places, latents),
        )
        values, by_error, by_length = (_select(each, rows) for each in derivatives)
        (half_grad,) = torch.autograd.grad(errors, z, by_error[..., 0] / 2)
        half_grad = half_grad + by_length * latents
        return _Trial(latents, images.detach(), errors.detach(), values, half_grad)

    def _derivatives(self, errors: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objective (N, K), and its derivatives (N, K, 1) by the error and the length."""
        with torch.enable_grad():
            errors = errors.clone().requires_grad_()
            lengths = latents.square().sum(dim=2).requires_grad_()
            values = self.objective(errors, lengths)
            grads = torch.autograd.grad(values.sum(), (errors, lengths), materialize_grads=True)
        return values.detach(), grads[0][..., None], grads[1][..., None]


def _soft_threshold(errors: Tensor, by: Tensor | None) -> Tensor:
    """Errors brought nearer to 0 by so much, and never past it."""
    return errors if by is None else errors.sign() * (errors.abs() - by).clamp_min(0)


def _minimize_in_ball(matrix: Tensor, vector: Tensor, radius: float) -> Tensor:
    """The z of length at most the radius with the least ½ zᵀ A z − bᵀ z; A positive, (…, L, L)."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    z = torch.cholesky_solve(vector[..., None], factor)[..., 0]
    rest = (failed != 0) | (z.norm(dim=-1) > radius)
    if rest.any():
        z[rest] = _minimize_on_sphere(matrix[rest], vector[rest], radius)
    return z


def _minimize_on_sphere(matrix: Tensor, vector: Tensor, radius: float) -> Tensor:
    """The same where it is at the radius, or where rounding has left A an eigenvalue below 0.

    (A + μ)⁻¹ b, with the μ ≥ 0 at which its length is the radius, by bisection.
    """
    values, axes = torch.linalg.eigh(matrix)
    values = values.clamp_min(torch.finfo(values.dtype).eps * values[..., -1:])
    b = _matvec(axes.mT, vector)
    free, radii = b / values, torch.full_like(values[..., :1], radius)
    low, high = torch.zeros_like(radii), b.norm(dim=-1, keepdim=True) / radii
    for _ in range(40):
        middle = (low + high) / 2
        longer = (b / (values + middle)).norm(dim=-1, keepdim=True) > radii
        low, high = torch.where(longer, middle, low), torch.where(longer, high, middle)
    outside = free.norm(dim=-1, keepdim=True) > radii
    return _matvec(axes, torch.where(outside, b / (values + high), free))


def _active_rows(active: Tensor) -> Tensor:
    """Numbers (n, K) of images: for each class those active in a bool mask (N, K), then others.

    n is the count of the class with the most of them.
    """
    order = active.to(torch.uint8).argsort(dim=0, descending=True, stable=True)
    return order[: int(active.sum(dim=0).max())]


def _select(values: Tensor, rows: Tensor) -> Tensor:
    """The values (n, K, …) of the images at rows (n, K), of (N, K, …)."""
    return values[rows, _columns(rows)]


def _columns(rows: Tensor) -> Tensor:
    """The class (n, K) of each of rows (n, K)."""
    return torch.arange(rows.shape[1], device=rows.device).expand_as(rows)


def _matvec(matrix: Tensor, vector: Tensor) -> Tensor:
    """(…, L, M) times (…, M), (…, L)."""
    return (matrix @ vector[..., None])[..., 0]


def _outer(vector: Tensor) -> Tensor:
    """v vᵀ (…, L, L) of (…, L)."""
    return vector[..., None] * vector[..., None, :]


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(…, L) and (…, L) to (…, 1)."""
    return (first * second).sum(dim=-1, keepdim=True)
