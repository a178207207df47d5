"""Levenberg–Marquardt: each class's latents are a nonlinear least-squares problem of few unknowns.

Images and reconstructions are flat, (N, P) and (N, K, P); latents are (N, K, L).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from armsrace.contracts import check_at_least, check_count
from armsrace.defenses.class_search import AdamSearch, Found, Objective, evidence, within
from armsrace.defenses.least_squares import Point, Problem
from armsrace.defenses.prior_samples import ClassGenerators


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss–Newton steps from several starts an image and class, the latents in a radius.

    The objective has L unknowns and P + L residuals, so that the slopes of what is drawn give most
    of the curvature too (Marquardt 1963); what they leave out, the residuals' own curvature, is
    learnt from step to step (Dennis, Gay and Welsch 1981): digits of another class leave
    large residuals, at which Gauss–Newton alone would be slow. A step that lowers nothing is taken
    back and damped more. After the share `screening` of the steps each pair keeps its best start.
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
        problem = Problem(generators, each, objective, shrink)
        alone = round(self.screening * self.steps) if starts.shape[1] > 1 else 0
        best: _State | None = None
        for start in starts.unbind(dim=1):
            point = problem.at(within(start, self.radius))
            state = _State(point, torch.full_like(point.values, self.damping))
            state = self._descended(problem, state, alone)
            best = state if best is None else best.better(state)
        assert best is not None, "starts is checked to be >= 1"
        point = self._descended(problem, best, self.steps - alone).point
        return Found(point.latents, point.images, point.values)

    def _descended(self, problem: Problem, state: _State, steps: int) -> _State:
        at, damping = state.point, state.damping
        for _ in range(steps):
            trial = problem.at(within(at.stepped(damping, self.radius), self.radius))
            lower = trial.values < at.values
            damping = (damping * torch.where(lower, 0.2, 5.0)).clamp(1e-6, 1e6)
            at = at.replaced(lower, trial.learning(at))
        return _State(at, damping)


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
class _State:
    point: Point
    damping: Tensor

    def better(self, other: _State) -> _State:
        rows = other.point.values < self.point.values
        damping = torch.where(rows, other.damping, self.damping)
        return _State(self.point.replaced(rows, other.point), damping)
