"""How far one piece of linear synthesis is from giving way to another, without the box.

For a true piece h and a rival k the images with q_k ≤ q_h are the sublevel set of one quadratic. By
the S-lemma (Yakubovich 1971; Boyd and Vandenberghe 2004, appendix B) the squared distance from x to
it is the value of a dual in one number s >= 0. With s <= 1, which the box and further pieces need
(`certificate`), it is a lower bound, and exact where the best s is not above 1:

    max over s in [0, 1] of   min over δ of   ‖δ‖² + s (q_k − q_h)(x + δ).

With q = (q_k − q_h)(x), g = E_h(x) − E_k(x) and H = B_h B_hᵀ − B_k B_kᵀ the inner minimum is
s q − s² gᵀ(I + sH)⁻¹g, at δ = −s (I + sH)⁻¹ g. Any s gives a lower bound, so that a rough maximum
is as valid as an exact one. Training raises this distance; `certificate` proves it, with the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from armsrace.contracts import check_epsilon
from armsrace.models.linear_synthesis import LinearSynthesis
from armsrace.training.recipe import Objective

RIVALS = 5
"""Rival pieces that training looks at: those nearest by the linear estimate."""


def own_pieces(model: LinearSynthesis, costs: Tensor, labels: Tensor) -> Tensor:
    """Of each image the piece (N,) of its labeled class with the least of the costs (N, K M)."""
    of_class = costs.view(len(costs), model.classes, model.pieces)
    within = of_class[torch.arange(len(costs), device=costs.device), labels].argmin(dim=1)
    return labels * model.pieces + within


def rival_pieces(model: LinearSynthesis, labels: Tensor) -> Tensor:
    """The pieces (N, (K − 1) M) of all other classes than the labels (N,)."""
    classes = torch.arange(model.classes - 1, device=labels.device).expand(len(labels), -1)
    classes = classes + (classes >= labels[:, None])
    within = torch.arange(model.pieces, device=labels.device)
    return (classes[:, :, None] * model.pieces + within).flatten(1)


@dataclass(frozen=True)
class Products:
    """Inner products of a model's pieces, by which a pair is looked at without a single image.

    factors: B_iᵀB_j, (K M, K M, L, L). centers: B_iᵀm_j, (K M, K M, L). means: ‖m_i − m_j‖²,
    (K M, K M).
    """

    factors: Tensor
    centers: Tensor
    means: Tensor

    @classmethod
    def of(cls, model: LinearSynthesis) -> Products:
        """Those of a model, differentiable in its parameters."""
        count, pixels, latents = model.factors.shape
        flat = model.factors.transpose(1, 2).reshape(-1, pixels)
        factors = (flat @ flat.T).view(count, latents, count, latents).transpose(1, 2)
        centers = (flat @ model.means.T).view(count, latents, count).transpose(1, 2)
        inner = model.means @ model.means.T
        squares = inner.diagonal()
        return cls(factors, centers, squares[:, None] - 2 * inner + squares)


@dataclass(frozen=True)
class Pairs:
    """What decides between the held piece h of each image and R rivals k.

    gap: (N, R), (q_k − q_h)(x). squared: (N, R), ‖g‖² with g = E_h(x) − E_k(x). gram: JᵀJ of
    J = [B_h B_k], (N, R, 2L, 2L). components: Jᵀg, (N, R, 2L).
    """

    gap: Tensor
    squared: Tensor
    gram: Tensor
    components: Tensor

    @classmethod
    def of(
        cls, costs: Tensor, along: Tensor, products: Products, own: Tensor, rivals: Tensor
    ) -> Pairs:
        """From the model's costs (N, K M) and coordinates (N, K M, L), and the pieces h and k."""
        held = along[torch.arange(len(own), device=own.device), own]
        other = along.gather(1, rivals[..., None].expand(-1, -1, along.shape[2]))
        h = own[:, None].expand_as(rivals)
        own_gram, other_gram = products.factors[h, h], products.factors[rivals, rivals]
        cross = products.factors[h, rivals]
        own_part = torch.einsum("nrab,nb->nra", own_gram, held)
        other_part = torch.einsum("nrab,nrb->nra", other_gram, other)
        apart_own = products.centers[h, h] - products.centers[h, rivals]
        apart_other = products.centers[rivals, h] - products.centers[rivals, rivals]
        onto_own = torch.einsum("nrab,nrb->nra", cross, other)
        onto_other = torch.einsum("nrab,na->nrb", cross, held)
        squared = (
            products.means[h, rivals]
            + ((2 * apart_own + own_part - 2 * onto_own) * held[:, None]).sum(2)
            + ((other_part - 2 * apart_other) * other).sum(2)
        )
        return cls(
            costs.gather(1, rivals) - costs.gather(1, own[:, None]),
            squared,
            torch.cat(
                [
                    torch.cat([own_gram, cross], dim=3),
                    torch.cat([cross.transpose(2, 3), other_gram], dim=3),
                ],
                dim=2,
            ),
            torch.cat(
                [apart_own + own_part - onto_own, apart_other + onto_other - other_part], dim=2
            ),
        )


def free_radius(pairs: Pairs, *, steps: int = 40) -> tuple[Tensor, Tensor]:
    """A lower bound on the squared distance to each rival, and the dual number that proves it.

    Args:
        pairs: of N images and R rivals.
        steps: halvings of [0, 1] in the search for s.

    Returns:
        (N, R) bounds on squared L2 distances, differentiable where the pairs are, 0 where the rival
        already wins, and s (N, R) in [0, 1].
    """
    gram, components = pairs.gram, pairs.components
    sign = torch.ones(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    sign[gram.shape[-1] // 2 :] = -1
    with torch.no_grad():
        s = _best(pairs, sign, steps)
    inner = torch.diag(sign) + s[..., None, None] * gram
    solved = torch.linalg.solve(inner, components)
    spread = pairs.squared - s * (components * solved).sum(2)
    return s * pairs.gap - s * s * spread, s


def _best(pairs: Pairs, sign: Tensor, steps: int) -> Tensor:
    """The s (N, R) of the largest value, by halving on the sign of its derivative."""
    # In an orthonormal basis of both pieces' directions H has a few eigenvalues; elsewhere it is 0.
    values, vectors = torch.linalg.eigh(pairs.gram)
    kept = values > 1e-9 * values[..., -1:]
    root = values.clamp_min(0).sqrt()
    change = root[..., :, None] * vectors.transpose(-1, -2)
    eigenvalues, turned = torch.linalg.eigh((change * sign) @ change.transpose(-1, -2))
    inside = torch.where(kept, 1 / root.clamp_min(1e-30), 0)
    basis = torch.einsum("nrab,nra->nrb", vectors, pairs.components) * inside
    parts = torch.einsum("nrab,nra->nrb", turned, basis).square()
    rest = (pairs.squared - parts.sum(2)).clamp_min(0)
    low, high = torch.zeros_like(pairs.gap), torch.ones_like(pairs.gap)
    for _ in range(steps):
        s = (low + high) / 2
        scaled = s[..., None] / (1 + s[..., None] * eigenvalues.clamp_min(-1 + 1e-6))
        rise = pairs.gap - (parts * scaled * (2 - scaled * eigenvalues)).sum(2) - 2 * s * rest
        low, high = torch.where(rise > 0, s, low), torch.where(rise > 0, high, s)
    return torch.where(pairs.gap > 0, torch.where(high == 1, high, low), 0)


def radius_loss(epsilon: float) -> Objective:
    """Training for the radius: the mean of how far each image's distance falls short of epsilon.

    The distance is that of `free_radius` to the nearest of the rivals; of an image that is
    misclassified, the linear estimate (q_k − q_h) / (2 ‖E_h − E_k‖), which is negative.

    Args:
        epsilon: L2, in pixel units; beyond it nothing more is asked.

    Returns:
        The objective, of a LinearSynthesis. It projects the factors (‖B‖ ≤ .97) before each step.
    """
    check_epsilon(epsilon)

    def objective(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        model = _linear(network)
        model.project()
        products = Products.of(model)
        along = model.coordinates(images)
        costs = model.costs(images, along)
        with torch.no_grad():
            own = own_pieces(model, costs, labels)
            rivals = rival_pieces(model, labels)
            pairs = Pairs.of(costs, along, products, own, rivals)
            estimates = pairs.gap / pairs.squared.clamp_min(1e-9).sqrt()
            rivals = rivals.gather(1, estimates.topk(RIVALS, largest=False).indices)
        pairs = Pairs.of(costs, along, products, own, rivals)
        squared, s = free_radius(pairs, steps=14)
        estimates = pairs.gap / (2 * pairs.squared.clamp_min(1e-9).sqrt())
        distance = torch.where(s > 0, squared.clamp_min(1e-12).sqrt(), estimates)
        return (epsilon - distance.amin(dim=1)).clamp_min(0).mean() / epsilon

    return objective


def started_by_clusters(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """`LinearSynthesis.start` as a recipe's start."""
    _linear(model).start(images, labels)


def _linear(model: nn.Module) -> LinearSynthesis:
    """The model, which must be a LinearSynthesis."""
    if not isinstance(model, LinearSynthesis):
        raise TypeError(f"model must be a LinearSynthesis, got {type(model).__name__}")
    return model
