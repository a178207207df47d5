"""Levenberg–Marquardt: each class's latents are a nonlinear least-squares problem of few unknowns.

Images and reconstructions are flat, (N, P) and (N, K, P); latents are (N, K, L). A pair is one
image with one class: N · K of them are searched for at once, each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from armsrace.contracts import check_at_least, check_count
from armsrace.defenses.class_search import AdamSearch, Found, Objective, evidence, within
from armsrace.defenses.prior_samples import ClassGenerators

CONVEX = 0.2
"""The share of the known curvature that a secant update leaves along the step (Powell 1978)."""


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Newton steps from several starts an image and class, the latents in a radius.

    The objective has L unknowns and P + L residuals, so that the slopes of what is drawn give most
    of the curvature (Gauss and Newton). A step that lowers nothing is taken back and damped more
    (Marquardt 1963). After the share `screening` of the steps each pair keeps its best start. A
    pair for which the next step promises less than rounding would hide is finished: the decoders
    draw only for the others.

    Differences from the textbook: the slopes of all pixels are drawn at the first start alone. From
    there on the curvature is learnt from how the gradient changes from step to step (the update of
    Broyden, Fletcher, Goldfarb and Shanno, damped so that it stays convex: Powell 1978). That
    covers what Gauss–Newton leaves out, the residuals' own curvature: digits of another class leave
    large residuals, at which Gauss–Newton alone is slow. A gradient costs two passes through a
    decoder; the slopes of all pixels in eight latents cost nine.

    Raises ValueError or TypeError naming the setting and the rule that it breaks.
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

        pixels: or an image a class, (N, K, P).
        shrink: ε ≥ 0, broadcast to (N, K, P), by which each pixel's error is brought nearer to 0
        before it is squared.
        """
        each = pixels if pixels.ndim == 3 else pixels[:, None]
        problem = _Problem(generators, each, objective, shrink)
        alone = round(self.screening * self.steps) if starts.shape[1] > 1 else 0
        first, *others = within(starts, self.radius).unbind(dim=1)
        best = self._descended(problem, problem.start(first, self.damping), alone)
        for start in others:
            pairs = problem.start(start, self.damping, best)
            pairs = self._descended(problem, pairs, alone)
            best = best.replaced(pairs.values < best.values, pairs)
        best = self._descended(problem, best, self.steps - alone)
        return Found(best.latents, best.images, best.values)

    def _descended(self, problem: _Problem, pairs: _Pairs, steps: int) -> _Pairs:
        rounding = torch.finfo(pairs.values.dtype).eps
        for _ in range(steps):
            trial, promised = pairs.stepped(self.radius)
            left = promised > rounding * pairs.values.abs()
            if not left.any():
                break
            at = _front(left)
            part = pairs.at(at)
            moved = part.learning(problem.evaluate(_at(trial, at), pairs, at))
            pairs = pairs.put(at, part.replaced(_at(left, at), moved))
        return pairs


@dataclass(frozen=True)
class PolishedSearch:
    """The paper's search, and Levenberg–Marquardt on from its end: an optimum, and never above it.

    starts: one. Raises ValueError where the two have different radii.
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
class _Pairs:
    """Latents, what they draw, and the objective there, with half its gradient and curvature.

    latents, slope (N, K, L); images (N, K, P); errors, squared, values, damping (N, K);
    curvature (N, K, L, L), positive definite: the objective at z + s is about
    values + 2 slope · s + sᵀ curvature s.
    """

    latents: Tensor
    images: Tensor
    errors: Tensor
    values: Tensor
    slope: Tensor
    curvature: Tensor
    damping: Tensor

    def stepped(self, radius: float) -> tuple[Tensor, Tensor]:
        """Where the damped model is least within the radius (N, K, L), and the gain it promises."""
        held = self.damping * self.curvature.diagonal(dim1=2, dim2=3).mean(dim=2)
        matrix = self.curvature + torch.diag_embed(held[..., None].expand_as(self.latents))
        aim = _applied(matrix, self.latents) - self.slope
        trial = within(_least_within(matrix, aim, radius), radius)
        step = trial - self.latents
        promised = _dot(step, 2 * self.slope + _applied(self.curvature, step))
        return trial, -promised[..., 0]

    def learning(self, trial: _Trial) -> _Pairs:
        """The trial where it is lower, else these pairs; either way the curvature that it shows."""
        step, change = trial.latents - self.latents, trial.slope - self.slope
        known = _applied(self.curvature, step)
        foreseen, seen = _dot(step, known), _dot(step, change)
        mixed = ((1 - CONVEX) * foreseen / (foreseen - seen)).where(seen < CONVEX * foreseen, 1)
        change = mixed * change + (1 - mixed) * known
        new, old = (
            vector[..., None] * vector[..., None, :] / scale[..., None]
            for vector, scale in ((change, _dot(step, change)), (known, foreseen))
        )
        learnt = self.curvature - old + new
        finite = learnt.isfinite().all(dim=3).all(dim=2)[..., None, None]
        lower = trial.values < self.values
        damping = (self.damping * torch.where(lower, 0.2, 5.0)).clamp(1e-6, 1e6)
        curvature = torch.where(finite, learnt, self.curvature)
        tried = _Pairs(**vars(trial), curvature=curvature, damping=damping)
        return replace(self.replaced(lower, tried), curvature=curvature, damping=damping)

    def replaced(self, rows: Tensor, other: _Pairs) -> _Pairs:
        """These, with the other's pairs chosen by a bool mask (N, K)."""
        ours, theirs = vars(self).values(), vars(other).values()
        return _Pairs(*(
            torch.where(rows.view(*rows.shape, *[1] * (old.ndim - 2)), new, old)
            for old, new in zip(ours, theirs, strict=True)
        ))  # fmt: skip

    def at(self, rows: Tensor) -> _Pairs:
        """The pairs of other images for each class, by their numbers (n, K)."""
        return _Pairs(*(_at(value, rows) for value in vars(self).values()))

    def put(self, rows: Tensor, part: _Pairs) -> _Pairs:
        """These, with what `at(rows)` gave, or something in its place, put back."""
        columns = _columns(rows)
        return _Pairs(*(
            value.index_put((rows, columns), new)
            for value, new in zip(vars(self).values(), vars(part).values(), strict=True)
        ))  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """What `_Pairs` says of its latents, without a curvature."""

    latents: Tensor
    images: Tensor
    errors: Tensor
    values: Tensor
    slope: Tensor


@dataclass(frozen=True)
class _Problem:
    """What is minimised, for images (N, K or 1, P): the objective of the errors, shrunk towards 0.

    shrink: ε ≥ 0, broadcast to (N, K, P), or None.
    """

    generators: ClassGenerators
    pixels: Tensor
    objective: Objective
    shrink: Tensor | None

    def start(self, latents: Tensor, damping: float, known: _Pairs | None = None) -> _Pairs:
        """All pairs at these latents (N, K, L), with the curvature known, or Gauss and Newton's."""
        held = torch.full_like(latents[..., 0], damping)
        if known is not None:
            rows = torch.arange(len(latents), device=latents.device)[:, None]
            trial = self.evaluate(latents, known, rows.expand(latents.shape[:2]))
            return _Pairs(**vars(trial), curvature=known.curvature, damping=held)
        images, tangents = self.generators.linearized(latents)
        left = self._shrunk(images - self.pixels, self.shrink)
        if self.shrink is not None:
            tangents = tangents * (left != 0)[:, :, None]
        errors = left.square().sum(dim=2)
        values, of_error, of_length = self._weighed(errors, latents)
        slope = of_error * _applied(tangents, left) + of_length * latents
        curvature = of_error[..., None] * (tangents @ tangents.mT)
        curvature.diagonal(dim1=2, dim2=3).add_(of_length)
        return _Pairs(latents, images, errors, values, slope, curvature, held)

    def evaluate(self, latents: Tensor, pairs: _Pairs, rows: Tensor) -> _Trial:
        """Some pairs, of images numbered rows (n, K), moved to latents (n, K, L)."""
        pixels = _at(self.pixels.expand_as(pairs.images), rows)
        shrink = self.shrink
        if shrink is not None:
            shrink = _at(shrink.expand_as(pairs.images), rows)
        variable = latents.clone().requires_grad_()
        with torch.enable_grad():
            images = self.generators.draw(variable)
            errors = self._shrunk(images - pixels, shrink).square().sum(dim=2)
        # An objective may hold numbers of each image: it is asked of all pairs.
        places = rows, _columns(rows)
        weighed = self._weighed(
            pairs.errors.index_put(places, errors.detach()),
            pairs.latents.index_put(places, latents),
        )
        values, of_error, of_length = (_at(each, rows) for each in weighed)
        (slope,) = torch.autograd.grad(errors, variable, of_error[..., 0] / 2)
        slope = slope + of_length * latents
        return _Trial(latents, images.detach(), errors.detach(), values, slope)

    def _weighed(self, errors: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objective (N, K), and its slopes (N, K, 1) in the squared error and length."""
        with torch.enable_grad():
            errors = errors.clone().requires_grad_()
            lengths = latents.square().sum(dim=2).requires_grad_()
            values = self.objective(errors, lengths)
            slopes = torch.autograd.grad(values.sum(), (errors, lengths), materialize_grads=True)
        return values.detach(), slopes[0][..., None], slopes[1][..., None]

    @staticmethod
    def _shrunk(errors: Tensor, by: Tensor | None) -> Tensor:
        return errors if by is None else errors.sign() * (errors.abs() - by).clamp_min(0)


def _least_within(matrix: Tensor, vector: Tensor, radius: float) -> Tensor:
    """The z of length at most the radius with the least ½ zᵀ A z − bᵀ z; A positive, (…, L, L)."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    free = torch.cholesky_solve(vector[..., None], factor)[..., 0]
    rest = (failed != 0) | (free.norm(dim=-1) > radius)
    if rest.any():
        free[rest] = _least_on_sphere(matrix[rest], vector[rest], radius)
    return free


def _least_on_sphere(matrix: Tensor, vector: Tensor, radius: float) -> Tensor:
    """The same where it is at the radius, or where rounding has left A an eigenvalue below 0.

    (A + μ)⁻¹ b, with the μ ≥ 0 at which its length is the radius, by bisection.
    """
    values, axes = torch.linalg.eigh(matrix)
    values = values.clamp_min(torch.finfo(values.dtype).eps * values[..., -1:])
    parts = _applied(axes.mT, vector)
    free, radii = parts / values, torch.full_like(values[..., :1], radius)
    low, high = torch.zeros_like(radii), parts.norm(dim=-1, keepdim=True) / radii
    for _ in range(40):
        middle = (low + high) / 2
        longer = (parts / (values + middle)).norm(dim=-1, keepdim=True) > radii
        low, high = torch.where(longer, middle, low), torch.where(longer, high, middle)
    outside = free.norm(dim=-1, keepdim=True) > radii
    return _applied(axes, torch.where(outside, parts / (values + high), free))


def _front(left: Tensor) -> Tensor:
    """Numbers (n, K) of images: for each class those left of a bool mask (N, K), then others.

    n is the count of the class with the most left.
    """
    order = left.to(torch.uint8).argsort(dim=0, descending=True, stable=True)
    return order[: int(left.sum(dim=0).max())]


def _at(values: Tensor, rows: Tensor) -> Tensor:
    """Values (N, K, …) of the images numbered rows (n, K), (n, K, …)."""
    return values[rows, _columns(rows)]


def _columns(rows: Tensor) -> Tensor:
    return torch.arange(rows.shape[1], device=rows.device).expand_as(rows)


def _applied(rows: Tensor, vector: Tensor) -> Tensor:
    """(…, L, M) times (…, M), (…, L)."""
    return (rows @ vector[..., None])[..., 0]


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(…, L) and (…, L) to (…, 1)."""
    return (first * second).sum(dim=-1, keepdim=True)
