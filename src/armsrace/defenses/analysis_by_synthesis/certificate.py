"""Radii around images within which linear synthesis provably keeps its decision.

`check_certificate` states the theorem and checks it in exact integers; here its weights t are
sought, in float64 and in batches. For each image and each rival piece k,

    D(t) = min over the box of F(δ),   F(δ) = ‖δ‖² + S q_k(x + δ) − Σ_h t_h q_h(x + δ),   S = Σ t_h,

is a lower bound on the squared distance at which k can win, whatever t is, and concave in t. Its
derivative by t_h is (q_k − q_h)(x + δ*). The search begins with one held piece and the exact dual
number of `free_radius`, takes the box into account, then holds more pieces where another one of the
class is cheaper at δ*. Only rivals that decide an image's radius are refined.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from armsrace.contracts import check_choice, check_count, check_images
from armsrace.defenses.analysis_by_synthesis import check_certificate
from armsrace.defenses.analysis_by_synthesis.free_radius import (
    Pairs,
    Products,
    free_radius,
    own_pieces,
    rival_pieces,
)
from armsrace.models.linear_synthesis import LinearSynthesis
from armsrace.resources import replacing

Norm = Literal["l2", "linf"]
MARGIN = 2.0**-check_certificate.MARGIN
GRID = 2.0**check_certificate.DUAL
SLACK = 1e-10, 1e-11
"""What is taken off a squared radius, relative and absolute, for the rounding of float64."""
CURVATURE = 0.95
"""About the largest ‖B‖² of a trained piece; a larger one makes the search slower, not wrong."""


@dataclass(frozen=True)
class Certificates:
    """Proofs, one per image.

    images: (N, C, H, W). labels: (N,), the classes that the model gives. radii: (N,) float64, in
    pixel units of the norm; 0 where nothing is proved. duals: (N, (K − 1) M, M) float64, of each
    piece of another class, in order, the weights t of the pieces of the image's class. norm: "l2"
    or "linf".
    """

    images: Tensor
    labels: Tensor
    radii: Tensor
    duals: Tensor
    norm: Norm = "l2"

    def save(self, path: Path | str, weights: Path | str) -> None:
        """Write them as .npz, each with the sha256 of itself and of the model's weights file."""
        model = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        images = self.images.double().flatten(1).cpu().numpy()
        labels, radii = self.labels.cpu().numpy(), self.radii.cpu().numpy()
        duals = self.duals.cpu().numpy()
        digests = [
            check_certificate.digest(model, self.norm, *row)
            for row in zip(images, labels, radii, duals, strict=True)
        ]
        with replacing(Path(path)) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream, images=images, labels=labels, radii=radii, duals=duals, norm=self.norm,
                digests=np.array(digests, dtype="U64"),
            )  # fmt: skip


def checker(model: LinearSynthesis) -> check_certificate.Checker:
    """The exact checker of a model in memory."""
    means, factors, offsets = (part.detach().cpu().double().numpy() for part in _parts(model))
    return check_certificate.Checker(means, factors, offsets, model.classes)


def certify(
    model: LinearSynthesis,
    images: Tensor,
    *,
    norm: Norm = "l2",
    pieces: int = 3,
    batch_size: int = 50,
) -> Certificates:
    """Prove for each image a radius within which the model keeps its decision.

    The theorem is about exact arithmetic, with a margin of 2⁻²⁰ between costs, more than float64
    rounds a cost by. The model computes its costs in float64, so this holds for it as it runs.

    Args:
        model: with weights that float16 holds, as on disk.
        images: (N, C, H, W) in [0, 1], multiples of 2⁻⁵², as k/255 in float32 is.
        norm: "l2", or "linf": then one piece is held, and the radius found by halving.
        pieces: the most pieces of the image's class that are held against a rival (L2).
        batch_size: images at once.

    Returns:
        The certificates, for the classes that the model gives, right or wrong.

    Cost:
        About .2 s an image on one CPU thread for ten classes of ten pieces.

    References:
        Voráček and Hein 2022, "Provably adversarially robust nearest prototype classifiers", for
        prototypes, which are pieces without latents; the S-lemma: Boyd and Vandenberghe 2004.

    Example:
        >>> model, digits = zoo.load("linear-synthesis"), datasets.load("mnist").take(2)
        >>> proved = evaluation.certify(model, digits.images)
        >>> bool((proved.radii > 0).all())
        True
    """
    if not isinstance(model, LinearSynthesis):
        raise TypeError(f"model must be a LinearSynthesis, got {type(model).__name__}")
    check_images(images)
    check_choice("norm", norm, ("l2", "linf"))
    check_count("pieces", pieces)
    check_count("batch_size", batch_size)
    scaled = images.double() * 2.0**check_certificate.PIXEL
    if not torch.equal(scaled, scaled.floor()):
        raise ValueError("images must be multiples of 2^-52, as float32 pixels k/255 are")
    for part in _parts(model):
        grid = part.detach().double() * 2.0**check_certificate.WEIGHT
        if not torch.equal(grid, grid.floor()):
            raise ValueError("model must have weights that are multiples of 2^-24, as float16 is")
    search = _Search(model, pieces)
    one = search.linf if norm == "linf" else search.l2
    with torch.no_grad():
        found = [one(batch) for batch in images.double().flatten(1).split(batch_size)]
    labels, radii, duals = (torch.cat(part) for part in zip(*found, strict=True))
    return Certificates(images, labels, radii, duals, norm)


class _Search:
    """The search for t, with the model in float64."""

    def __init__(self, model: LinearSynthesis, pieces: int) -> None:
        self.model = LinearSynthesis.of(*(part.detach().double() for part in _parts(model)),
                                        classes=model.classes)  # fmt: skip
        self.pieces = min(pieces, model.pieces)
        self.products = Products.of(self.model)

    def l2(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (N,), radii (N,) and duals (N, R, M) of images (N, P)."""
        model = self.model
        costs, along = model.costs(images), model.coordinates(images)
        labels = costs.view(len(costs), model.classes, -1).amin(2).argmin(1)
        own, rivals = own_pieces(model, costs, labels), rival_pieces(model, labels)
        pairs = Pairs.of(costs, along, self.products, own, rivals)
        squared, s = free_radius(pairs)
        s = (s * GRID).floor() / GRID
        duals = torch.zeros(*rivals.shape, model.pieces, dtype=s.dtype, device=s.device)
        duals.scatter_(
            2, (own % model.pieces)[:, None, None].expand(-1, rivals.shape[1], 1), s[..., None]
        )
        squared = squared - MARGIN * s
        refined = torch.zeros_like(squared, dtype=torch.bool)
        rows = torch.arange(len(images), device=images.device)
        while True:
            nearest = squared.argmin(1)
            left = rows[~refined[rows, nearest] & (squared[rows, nearest] > 0)]
            if not len(left):
                break
            chosen = nearest[left]
            value, weights = self._refine(
                images[left], labels[left], own[left], rivals[left, chosen], s[left, chosen]
            )
            better = value > squared[left, chosen]
            squared[left[better], chosen[better]] = value[better]
            duals[left[better], chosen[better]] = weights[better]
            refined[left, chosen] = True
        least = squared.amin(1)
        radii = (least * (1 - SLACK[0]) - SLACK[1]).clamp_min(0).sqrt()
        return labels, radii, duals

    def _refine(
        self, images: Tensor, labels: Tensor, own: Tensor, rivals: Tensor, s: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The best D(t) found (N,) and t (N, M), of one rival (N,) per image."""
        model, count = self.model, self.model.pieces
        weights = torch.zeros(len(images), count, dtype=s.dtype, device=s.device)
        rows = torch.arange(len(images), device=images.device)
        weights[rows, own % count] = s
        held = own[:, None]
        value, point = self._ascend(images, labels, rivals, held, weights, rows)
        for _ in range(self.pieces - 1):
            costs = model.costs(images + point)
            cheapest = own_pieces(model, costs, labels)
            gain = costs.gather(1, rivals[:, None]) - costs.gather(1, cheapest[:, None])
            held = torch.cat([held, cheapest[:, None]], dim=1)
            more = rows[gain[:, 0] > 1e-4]
            if not len(more):
                break
            trial = weights.clone()
            better, moved = self._ascend(images, labels, rivals, held, trial, more)
            for place, row in enumerate(more.tolist()):
                if better[place] > value[row]:
                    value[row], point[row] = better[place], moved[place]
                    weights[row] = trial[row]
        return value, weights

    def _ascend(
        self, images: Tensor, labels: Tensor, rivals: Tensor, held: Tensor, weights: Tensor,
        rows: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Raise D in the weights of the held pieces in turn; sets them and returns D and δ*."""
        problem = _Problem(self.model, images[rows], rivals[rows], held[rows])
        places = held[rows] % self.model.pieces
        t = weights[rows].gather(1, places)
        if held.shape[1] > 1:
            # A piece that is held twice counts once.
            for j in range(1, t.shape[1]):
                twice = (places[:, :j] == places[:, j : j + 1]).any(1)
                t[twice, j] = 0
        point = problem.minimize(t, torch.zeros_like(images[rows]), 40)
        turns = range(t.shape[1]) if t.shape[1] == 1 else [*range(t.shape[1])[::-1]] * 2
        for j in turns:
            low = torch.zeros_like(t[:, j])
            high = (1 - (t.sum(1) - t[:, j])).clamp_min(0)
            for step in range(11):
                rise = problem.difference(point, j)
                low = torch.where(rise > 0, torch.maximum(low, t[:, j]), low)
                high = torch.where(rise > 0, high, torch.minimum(high, t[:, j]))
                # The first guess may be near: look close to it before halving.
                near = t[:, j] + torch.sign(rise) * 0.02 * 4**step
                t[:, j] = torch.where(
                    (near > low) & (near < high) & (step < 2), near, (low + high) / 2
                )
                point = problem.minimize(t, point, 12)
        t = (t.clamp_min(0) * GRID).floor() / GRID
        point = problem.minimize(t, point, 400, exact=True)
        chosen = torch.zeros_like(weights[rows]).scatter_add_(1, places, t)
        weights[rows] = chosen
        return problem.bound(t, point), point

    def linf(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `l2`, in L∞, with the cheapest piece of the class held against every rival."""
        model = self.model
        costs = model.costs(images)
        labels = costs.view(len(costs), model.classes, -1).amin(2).argmin(1)
        own, rivals = own_pieces(model, costs, labels), rival_pieces(model, labels)
        radii = torch.full_like(costs[:, 0], torch.inf)
        # The rivals from the cheapest on: each is asked whether the radius so far holds against it.
        order = costs.gather(1, rivals).argsort(1)
        ones = torch.ones(len(images), 1, dtype=images.dtype, device=images.device)
        rows = torch.arange(len(images), device=images.device)
        for place in order.T:
            pairs = rivals[rows, place]
            problem = _Problem(model, images, pairs, own[:, None])
            left = rows[~problem.holds(radii.clamp_max(1), ones)]
            if not len(left):
                continue
            problem = _Problem(model, images[left], pairs[left], own[left, None])
            low, high = torch.zeros_like(radii[left]), radii[left].clamp_max(1)
            for _ in range(36):
                middle = (low + high) / 2
                holds = problem.holds(middle, ones[left])
                low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
            radii[left] = low
        radii = (radii.clamp_max(1) * (1 - 2e-10)).clamp_min(0)
        duals = torch.zeros(*rivals.shape, model.pieces, dtype=images.dtype, device=images.device)
        duals.scatter_(2, (own % model.pieces)[:, None, None].expand(-1, rivals.shape[1], 1), 1.0)
        return labels, radii, duals


class _Problem:
    """F of N images, one rival k and J held pieces each: its minimum on the box, its bound."""

    def __init__(
        self, model: LinearSynthesis, images: Tensor, rivals: Tensor, held: Tensor
    ) -> None:
        pieces = torch.cat([rivals[:, None], held], dim=1)
        self.images, self.low, self.high = images, -images, 1 - images
        self.means, self.offsets = model.means[pieces], model.offsets[pieces]
        count, kinds, pixels = self.means.shape
        self.factors = model.factors[pieces].transpose(1, 2).reshape(count, pixels, -1)
        self.latents = self.factors.shape[2] // kinds
        away = images[:, None] - self.means
        self.along = torch.einsum(
            "njp,npjl->njl", away, self.factors.view(count, pixels, kinds, -1)
        ).flatten(1)

    def _signed(self, t: Tensor) -> Tensor:
        """(N, 1 + J): S and −t."""
        return torch.cat([t.sum(1, keepdim=True), -t], dim=1)

    def target(self, signed: Tensor, point: Tensor) -> Tensor:
        """S E_k(x + δ) − Σ t_h E_h(x + δ), (N, P)."""
        spread = signed.repeat_interleave(self.latents, dim=1)
        along = (point[:, None] @ self.factors)[:, 0] + self.along
        constant = (signed[:, None] @ self.means)[:, 0]
        return constant + (self.factors @ (spread * along)[:, :, None])[:, :, 0]

    def costs(self, point: Tensor) -> Tensor:
        """q of each piece at x + δ, (N, 1 + J)."""
        along = ((point[:, None] @ self.factors)[:, 0] + self.along).view(
            len(point), -1, self.latents
        )
        away = (self.images + point)[:, None] - self.means
        return away.square().sum(2) - along.square().sum(2) + self.offsets

    def difference(self, point: Tensor, j: int) -> Tensor:
        """(q_k − q_h)(x + δ) of held piece j: the derivative of D by its weight."""
        costs = self.costs(point)
        return costs[:, 0] - costs[:, 1 + j]

    def minimize(self, t: Tensor, point: Tensor, steps: int, *, exact: bool = False) -> Tensor:
        """About the minimizer of F on the box, by accelerated projected gradient (Nesterov 2004).

        With exact it stops at the last bit.
        """
        signed = self._signed(t)
        total = signed[:, :1]
        # The Hessian of F / 2 lies between 1 − S ‖B_k‖² and 1 + S.
        condition = ((1 + total) / (1 - CURVATURE * total)).sqrt()
        momentum = (condition - 1) / (condition + 1)
        before = point
        for step in range(steps):
            ahead = point + momentum * (point - before)
            slope = ahead - self.target(signed, ahead)
            before, point = point, (ahead - slope / (1 + total)).clamp(self.low, self.high)
            if exact and step % 20 == 19 and (point - before).abs().max() < 1e-15:
                break
        return point

    def bound(self, t: Tensor, point: Tensor) -> Tensor:
        """The least value on the box of the tangent of F at δ, less S times the margin, (N,)."""
        signed = self._signed(t)
        value = point.square().sum(1) + (signed * self.costs(point)).sum(1) - MARGIN * t.sum(1)
        slope = point - self.target(signed, point)
        return value + 2 * torch.minimum(
            slope * (self.low - point), slope * (self.high - point)
        ).sum(1)

    def holds(self, radius: Tensor, t: Tensor, steps: int = 60) -> Tensor:
        """Whether, with t of sum 1, k costs more than the held pieces within an L∞ radius (N,)."""
        low = torch.maximum(self.low, -radius[:, None])
        high = torch.minimum(self.high, radius[:, None])
        signed, middle = self._signed(t), (low + high) / 2
        before = point = torch.zeros_like(low)
        condition = math.sqrt(2 / (1 - CURVATURE))
        for _ in range(steps):
            ahead = point + (condition - 1) / (condition + 1) * (point - before)
            slope = ahead - middle - self.target(signed, ahead)
            before, point = point, (ahead - slope / 2).clamp(low, high)
        value = ((point - low) * (point - high)).sum(1) + (signed * self.costs(point)).sum(1)
        slope = point - middle - self.target(signed, point)
        least = value + 2 * torch.minimum(slope * (low - point), slope * (high - point)).sum(1)
        return least - MARGIN > 1e-9


def _parts(model: LinearSynthesis) -> tuple[Tensor, Tensor, Tensor]:
    """Means, factors and offsets."""
    return model.means, model.factors, model.offsets
