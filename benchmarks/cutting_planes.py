"""Cutting planes: projection onto the half-spaces in which another class's explanation is cheaper.

Our own, against analysis by synthesis (Schott, Rauber, Bethge and Brendel 2019) and any classifier
by the least of squared distances with a price. A class c costs min_u ‖x − G_c(u)‖² + p_c(u). Let a
rival c keep one explanation G with its price p. It wins where it costs no more than *every*
explanation G_j, p_j of the class y:

    2 (G − G_j) · x  ≥  ‖G‖² + p − ‖G_j‖² − p_j    for all j.

The squares of x cancel, so this set is convex, and the misclassified images are the union of such
sets. The nearest point of one is found by cutting planes (Kelley 1960): project the image onto the
half-spaces known so far, ask how y explains that point best, and add this explanation as one more
half-space. Each time the rival, too, takes its best explanation of the point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context
from armsrace.attacks.generative.decoder import explained
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.norms import batch_view, distances

Explain = Callable[[Tensor], tuple[Tensor, Tensor]]
NEWTON, LENGTHS = 60, 10
"""Newton steps of a projection at most, and the lengths, each a quarter of the last, that a step
tries."""
BISECTIONS = 14
"""Of the L∞ radius."""
TOLERANCE = 1e-4
"""Of a half-space's violation, relative to the distance at which it begins."""
SETTLED = 0.001
"""Gain of a rival's new explanation, in lags, below which a search is finished."""
SHRINK = 0.05
"""How much of the perturbation found the last line search may take back."""


def cutting_planes(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    explanations: Explain,
    norm: Literal["l2", "linf"] = "l2",
    rivals: int = 3,
    starts: Sequence[float] = (0.5, 0.0, 2.0),
    steps: int = 15,
    overshoot: float = 0.01,
    binary_search_steps: int = 6,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Project onto the half-spaces of all explanations known so far, explain again, and repeat.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        explanations: images (N, C, H, W) to each class's reconstruction of them (N, K, C, H, W) and
            what it costs (N, K), ‖x − G‖² with the price; the class with the least cost is the
            model's. For analysis by synthesis `lambda x: (found := model.explain(x)).images,
            found.costs`, for a nearest neighbor the squared distances. It is called at each step.
        norm: of the distance, in pixel units.
        rivals: how many other classes are tried, from the cheapest on.
        starts: one search for each and per rival. It is how far beyond the tie the first projection
            aims, as a fraction of the rival's lag on the clean image: there the rival's explanation
            is another one.
        steps: projections per search, at most.
        overshoot: how far beyond the tie all further projections aim, in the same unit.
        binary_search_steps: bisections of the last twentieth of the way to the nearest image.
        targets: (N,) int64 wanted classes, then the only rivals.
        bounds: the box of valid pixels.

    Returns:
        The nearest adversarial image found; the clean image where there is none.

    Cost:
        With R = rivals · starts · steps, at most 2 + R + binary_search_steps forward passes and
        1 + R searches for explanations per image; no backward pass. A projection costs little
        beside a search.

    References:
        Kelley 1960, "The cutting-plane method for solving convex programs"; Schott, Rauber, Bethge
        and Brendel 2019, "Towards the first adversarially robust neural network model on MNIST",
        for the models.
    """
    check_choice("norm", norm, ("l2", "linf"))
    for name, count in (("rivals", rivals), ("steps", steps)):
        check_count(name, count)
    for name, value in (("overshoot", overshoot), *(("starts", start) for start in starts)):
        check_at_least(name, value, 0)
    check_count("starts", len(starts))
    check_count("binary_search_steps", binary_search_steps, 0)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        logits = context.logits(context.images)
        search = _Search(context, explanations, norm, images.dtype, logits.shape[1])
        active = (~context.is_adversarial(logits)).nonzero()[:, 0]
        if len(active) > 0:
            pairs = search.pairs(active, rivals, torch.tensor(starts))
            for step in range(steps):
                if len(pairs.row) == 0:
                    break
                search.step(pairs, step == 0)
                pairs.overshoot = torch.full_like(pairs.overshoot, overshoot)
            search.bisect(binary_search_steps)
        return context.minimal_result(
            search.best, 1 + search.queries, torch.zeros_like(search.queries)
        )


@dataclass
class _Pairs(PerImage):
    """An image x (M, P) and a rival class (M,), and what is known of both.

    row: (M,) the number of the image. G, price: the rival's explanation (M, P), (M,). cuts,
    cut_prices: the explanations of the class to be beaten, (M, J, P), (M, J). lag: (M,) by which
    the rival costs more than it on the clean image. overshoot: (M,), a fraction of that.
    """

    row: Tensor
    x: Tensor
    rival: Tensor
    G: Tensor
    price: Tensor
    cuts: Tensor
    cut_prices: Tensor
    lag: Tensor
    overshoot: Tensor

    def halfspaces(self) -> tuple[Tensor, Tensor]:
        """a (M, J, P), of length 1, and b (M, J): the rival leads where a · (x + δ) ≥ b."""
        a = self.G[:, None] - self.cuts
        # In differences from x: squares of whole images would cancel.
        rival = (self.x - self.G).square().sum(dim=1) + self.price
        rival = rival + self.overshoot * self.lag
        own = (self.x[:, None] - self.cuts).square().sum(dim=2) + self.cut_prices
        length = a.norm(dim=2).clamp_min(torch.finfo(a.dtype).tiny)
        return a / length[..., None], (rival[:, None] - own) / (2 * length)


class _Search:
    """The nearest adversarial images found so far, `best` (N, C, H, W), and the queries (N,)."""

    def __init__(
        self, context: AttackContext, explanations: Explain, norm: Literal["l2", "linf"],
        dtype: torch.dtype, classes: int,
    ) -> None:  # fmt: skip
        self._context, self._explanations, self._norm = context, explanations, norm
        self._dtype, self._classes = dtype, classes
        self.best = context.images.clone()
        self.queries = torch.zeros_like(context.labels)
        self._distance = torch.full_like(context.images[:, 0, 0, 0], torch.inf)

    def pairs(self, active: Tensor, rivals: int, starts: Tensor) -> _Pairs:
        """The problems of the images at indices (M,): one for each of the rivals and starts."""
        part = self._context.select(active)
        x, labels = part.images.flatten(1), part.labels
        drawn, costs = self._explain(x)
        if part.targets is None:
            others = costs.scatter(1, labels[:, None], torch.inf)
            chosen = others.topk(min(rivals, self._classes - 1), dim=1, largest=False).indices
        else:
            chosen = part.targets[:, None]
        copies = chosen.shape[1] * len(starts)
        row, rival = active.repeat_interleave(copies), chosen.flatten()
        rival = rival.repeat_interleave(len(starts))
        x, drawn, costs = (v.repeat_interleave(copies, dim=0) for v in (x, drawn, costs))
        own = self._to_beat(row, rival, costs)
        every = torch.arange(len(row), device=row.device)
        lag = (costs[every, rival] - costs[every, own]).clamp_min(0)
        prices = _prices(x, drawn, costs)
        return _Pairs(
            row, x, rival, drawn[every, rival], prices[every, rival],
            drawn[every, own][:, None], prices[every, own][:, None], lag,
            starts.to(x).repeat(len(active) * chosen.shape[1]),
        )  # fmt: skip

    def step(self, pairs: _Pairs, first: bool) -> None:
        """Project, explain, keep what is adversarial and nearest; finished pairs are dropped."""
        point, going = self._projected(pairs)
        distance = self._distances(point - pairs.x)
        if not first:
            # A new half-space moves the point away: beyond an image found there is no hope.
            going &= distance < self._distance[pairs.row]
        pairs.select(going)
        point, distance = point[going], distance[going]
        if len(pairs.row) == 0:
            return
        drawn, costs = self._explain(point)
        prices, every = _prices(point, drawn, costs), torch.arange(len(point), device=point.device)
        own, rival = self._to_beat(pairs.row, pairs.rival, costs), pairs.rival
        held = (point - pairs.G).square().sum(dim=1) + pairs.price
        gain = (held - costs[every, rival]).clamp_min(0)
        ahead = held - gain < costs[every, own]
        self._offer(pairs.row, point, distance, ahead)
        cheaper = gain > 0
        pairs.G = torch.where(cheaper[:, None], drawn[every, rival], pairs.G)
        pairs.price = torch.where(cheaper, prices[every, rival], pairs.price)
        pairs.cuts = torch.cat([pairs.cuts, drawn[every, own][:, None]], dim=1)
        pairs.cut_prices = torch.cat([pairs.cut_prices, prices[every, own][:, None]], dim=1)
        if not first:
            # With no new half-space and hardly a better rival, the next point would be the same.
            pairs.select(~ahead | (gain > SETTLED * pairs.lag))

    def bisect(self, steps: int) -> None:
        """Closer to the image, on the line to the nearest image found."""
        active = self._distance.isfinite().nonzero()[:, 0]
        part = self._context.select(active)
        high = torch.ones_like(self._distance[active])
        low, delta = high - SHRINK, self.best[active] - part.images
        for _ in range(steps if len(active) else 0):
            middle = (low + high) / 2
            trial = part.images + batch_view(middle) * delta
            is_adversarial = part.is_adversarial(part.logits(trial))
            self.queries[active] += 1
            low = torch.where(is_adversarial, low, middle)
            high = torch.where(is_adversarial, middle, high)
            kept = batch_view(is_adversarial)
            self.best[active] = torch.where(kept, trial, self.best[active])

    def _offer(self, row: Tensor, point: Tensor, distance: Tensor, candidate: Tensor) -> None:
        """Ask the model about candidates (M,), and keep each image's nearest adversarial one."""
        chosen = (candidate & (distance < self._distance[row])).nonzero()[:, 0]
        if len(chosen) == 0:
            return
        row, distance = row[chosen], distance[chosen]
        part = self._context.select(row)
        trial = point[chosen].view_as(part.images)
        is_adversarial = part.is_adversarial(part.logits(trial))
        self.queries += torch.bincount(row, minlength=len(self.queries))
        found = torch.where(is_adversarial, distance, torch.inf)
        # An image may have several rivals here: the nearest counts.
        least = self._distance.scatter_reduce(0, row, found, "amin")
        nearest = is_adversarial & (found == least[row]) & (found < self._distance[row])
        self._distance = least
        self.best[row[nearest]] = trial[nearest]

    def _to_beat(self, row: Tensor, rival: Tensor, costs: Tensor) -> Tensor:
        """The class (M,) that the rival must beat: the label, or any class but the target."""
        if self._context.targets is None:
            return self._context.labels[row]
        return costs.scatter(1, rival[:, None], torch.inf).argmin(dim=1)

    def _explain(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions (M, K, P) and costs (M, K) of images (M, P)."""
        found: list[Tensor] = []

        def images(asked: Tensor) -> Tensor:
            drawn, costs = self._explanations(asked)
            found.append(costs)
            return drawn

        shape = torch.Size((len(flat), self._classes))
        batch = flat.view(-1, *self._context.images.shape[1:])
        drawn = explained(images, batch, shape, self._dtype).flatten(2)
        (costs,) = found
        if costs.shape != shape:
            raise ValueError(
                f"explanations must return costs of shape {tuple(shape)}, got {tuple(costs.shape)}"
            )
        return drawn, costs.to(flat)

    def _distances(self, delta: Tensor) -> Tensor:
        """The norms (M,) of perturbations (M, P)."""
        return distances(delta.view(-1, *self._context.images.shape[1:]), self._norm).to(delta)

    def _projected(self, pairs: _Pairs) -> tuple[Tensor, Tensor]:
        """The points (M, P) of the half-spaces nearest to x, and whether there is one (M,)."""
        a, b = pairs.halfspaces()
        bounds = self._context.bounds
        low, high = bounds.lower - pairs.x, bounds.upper - pairs.x
        delta, feasible = projection(a, b, low, high)
        lower = torch.zeros_like(b[:, 0])
        width = torch.full_like(lower, bounds.width)
        for _ in range(BISECTIONS if self._norm == "linf" else 0):
            width = width / 2
            radius = (lower + width)[:, None]
            trial, enough = projection(a, b, low.maximum(-radius), high.minimum(radius))
            delta = torch.where(enough[:, None], trial, delta)
            lower = torch.where(enough, lower, lower + width)
        return bounds.clip(pairs.x + delta), feasible


def _prices(x: Tensor, drawn: Tensor, costs: Tensor) -> Tensor:
    """What explanations cost beside ‖x − G‖², (M, K)."""
    return costs - (x[:, None] - drawn).square().sum(dim=2)


def projection(a: Tensor, b: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The shortest δ (M, P) in a box with a · δ ≥ b, and whether there is one (M,).

    a: (M, J, P) of length 1. b: (M, J). low, high: (M, P), around 0. By Newton's method on the
    dual, max over λ ≥ 0 of min over the box of ½ ‖δ‖² + λ · (b − a · δ), where δ is Σ λ_j a_j,
    clipped. It is computed in float64: near the end the dual gains less than float32 resolves.
    """
    dtype = b.dtype
    a, b, low, high = (tensor.double() for tensor in (a, b, low, high))
    multipliers = torch.zeros_like(b)
    scale = b.amax(dim=1).clamp_min(torch.finfo(b.dtype).eps)
    fractions = 0.25 ** torch.arange(LENGTHS, dtype=b.dtype, device=b.device)
    eye = torch.eye(b.shape[1], dtype=b.dtype, device=b.device)

    def delta_of(multipliers: Tensor) -> Tensor:
        return (multipliers @ a).clamp(low[:, None], high[:, None])

    def value(multipliers: Tensor, delta: Tensor) -> Tensor:
        missing = b[:, None] - delta @ a.mT
        return delta.square().sum(dim=2) / 2 + (multipliers * missing).sum(dim=2)

    delta = delta_of(multipliers[:, None])
    for _ in range(NEWTON):
        missing = b - (delta @ a.mT)[:, 0]
        free = (multipliers > 0) | (missing > 0)
        inside = ((delta > low[:, None]) & (delta < high[:, None])).to(a)
        both = (free[:, :, None] & free[:, None]).to(a)
        curvature = ((a * inside) @ a.mT) * both + 1e-5 * eye + eye * (~free[:, None]).to(a)
        step = torch.linalg.solve(curvature, torch.where(free, missing, 0))
        # Where the corner λ ≥ 0 bends every Newton step downhill, the gradient still leads up.
        tried = fractions[:, None, None] * torch.stack([step, missing], dim=1)[:, None]
        trials = (multipliers[:, None] + tried.flatten(1, 2)).clamp_min(0)
        trials = torch.cat([trials, multipliers[:, None]], dim=1)
        best = value(trials, delta_of(trials)).argmax(dim=1)
        before, multipliers = multipliers, trials[torch.arange(len(best), device=best.device), best]
        if torch.equal(before, multipliers):
            break
        delta = delta_of(multipliers[:, None])
    missing = b - (delta @ a.mT)[:, 0]
    return delta[:, 0].to(dtype), missing.amax(dim=1) <= TOLERANCE * scale
