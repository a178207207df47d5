"""Latent descent: from the image towards what another class would draw in its place.

Schott, Rauber, Bethge and Brendel 2019, §4 and the authors' code (`LineSearchAttack`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem, posed
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_count


def latent_descent(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    explain: Callable[[Tensor], Tensor],
    coarse: int = 50,
    binary_search_steps: int = 10,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The first point of the line to another class's explanation at which the model gives way.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        explain: images (N, C, H, W) to what each class draws of them, (N, K, C, H, W): for
            analysis by synthesis `lambda x: model.explain(x).images`, for a nearest neighbour
            `model.nearest`. Asked once, and not counted.
        coarse: equal steps in which the line is first walked.
        binary_search_steps: halvings of the step at which the model gave way.
        targets: (N,) int64 wanted classes; by default the most likely other one of each image.
        bounds: the box of valid pixels.

    Minimal norm, no gradients. The authors' code walks 51 coarse points, of which the first is the
    image, and goes on in finer steps. Raises ValueError or TypeError naming the argument and the
    rule it breaks.

    >>> digits = datasets.load("mnist").take(200)
    >>> model = defenses.NearestNeighbor(digits.images, digits.labels)
    >>> known = (digits.images[:8], digits.labels[:8])
    >>> attacks.latent_descent(model, *known, explain=model.nearest).success.all()
    tensor(True)
    """
    check_count("coarse", coarse)
    check_count("binary_search_steps", binary_search_steps, 0)
    with posed(model, images, labels, targets, bounds) as problem, torch.no_grad():
        logits = problem.logits(problem.images)
        found, queries = problem.images.clone(), torch.ones_like(problem.labels)
        left = (~problem.fooled(logits)).nonzero()[:, 0]
        if len(left) > 0:
            part = problem.subset(left)
            line = _Line(part, _aims(part, logits[left], explain))
            line.walk(coarse)
            line.halve(binary_search_steps, 1 / coarse)
            found[left], queries[left] = line.reached(), queries[left] + line.queries
        return problem.finish_nearest(found, queries, torch.zeros_like(queries))


def _aims(problem: Problem, logits: Tensor, explain: Callable[[Tensor], Tensor]) -> Tensor:
    """What the target, or the most likely other class, draws of each image (M, C, H, W)."""
    others = logits.scatter(1, problem.labels[:, None], -torch.inf).argmax(dim=1)
    chosen = others if problem.targets is None else problem.targets
    drawn = explain(problem.images)
    wanted = (*logits.shape, *problem.images.shape[1:])
    if drawn.shape != wanted:
        raise ValueError(f"explain must return shape {wanted}, got {tuple(drawn.shape)}")
    rows = torch.arange(len(chosen), device=chosen.device)
    return drawn[rows, chosen].to(problem.images.dtype)


class _Line:
    """The lines of M images to their aims: shares (M,) at which the model gave way, else infinity.

    queries: (M,), points tried.
    """

    def __init__(self, problem: Problem, aims: Tensor) -> None:
        self._problem, self._ways = problem, aims - problem.images
        self._shares = torch.full_like(aims[:, 0, 0, 0], torch.inf)
        self.queries = torch.zeros_like(problem.labels)

    def walk(self, steps: int) -> None:
        """From the image on, until the model gives way."""
        for step in range(1, steps + 1):
            left = self._shares.isinf().nonzero()[:, 0]
            if len(left) == 0:
                return
            tried = torch.full_like(self._shares[left], step / steps)
            self._shares[left[self._gives_way(left, tried)]] = step / steps

    def halve(self, times: int, width: float) -> None:
        """Nearer to the image, the boundary being within `width` of the shares found."""
        found = self._shares.isfinite().nonzero()[:, 0]
        if len(found) == 0:
            return
        low = self._shares[found] - width
        for _ in range(times):
            middle = (low + self._shares[found]) / 2
            gives_way = self._gives_way(found, middle)
            self._shares[found[gives_way]] = middle[gives_way]
            low = torch.where(gives_way, low, middle)

    def reached(self) -> Tensor:
        """The points found; the image where there is none."""
        every = torch.arange(len(self._shares), device=self._shares.device)
        return self._points(every, self._shares.nan_to_num(posinf=0))

    def _gives_way(self, rows: Tensor, shares: Tensor) -> Tensor:
        part = self._problem.subset(rows)
        self.queries[rows] += 1
        return part.fooled(part.logits(self._points(rows, shares)))

    def _points(self, rows: Tensor, shares: Tensor) -> Tensor:
        moved = self._problem.images[rows] + column(shares) * self._ways[rows]
        return self._problem.bounds.clip(moved)
