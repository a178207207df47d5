"""DeepFool: the nearest boundary of the linearized model, again and again.

Moosavi-Dezfooli, Fawzi and Frossard 2016, Algorithm 2, and §3.3 for L∞.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.norms import batch_view, blocked_by_box


def deepfool(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The sum of the shortest steps to the nearest class boundary of the linearized model.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l2" or "linf", in which the perturbation is kept small.
        steps: linearizations at most; an image is done once it is misclassified.
        overshoot: η. The perturbation is lengthened by this fraction, since the boundary itself
            belongs to no class.
        candidates: how many of the likeliest classes are linearized in a step, the label included.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The first misclassified images. They are exact for a linear model, times 1 + overshoot,
        while no pixel meets the box.

    Differences from the paper:
        * The paper has no box. Here pixels that the box blocks take no part in a step. The others
          move as in the paper, or as far as needed to close half the gap. Steps that close all of
          it within the box are fewer, but end further away on a curved boundary.
        * The search ends once the image after the overshoot is misclassified. The image before it,
          at which the model is linearized as in the paper, may approach the boundary and never
          cross it.
        * In the paper all classes are candidates; the authors' code takes the ten likeliest of
          the clean image. Here they are the likeliest at each step.

    Cost:
        Two forward passes and `candidates` backward passes per step, at most K, only for images
        still under search.

    References:
        Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool: a simple and accurate method to fool
        deep neural networks", Algorithm 2; §3.3 (L∞).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.deepfool(model, digits.images, digits.labels)
        >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    check_choice("norm", norm, ("l2", "linf"))
    check_count("steps", steps)
    check_at_least("overshoot", overshoot, 0)
    check_count("candidates", candidates, 2)
    with attack_context(model, images, labels, None, bounds) as context, torch.no_grad():
        x, x_adv = context.images.clone(), context.images.clone()
        queries, gradients = torch.zeros_like(context.labels), torch.zeros_like(context.labels)
        active = torch.arange(len(x), device=x.device)
        for _ in range(steps):
            part = context.select(active)
            queries[active] += 1
            active = active[~part.is_adversarial(part.logits(x_adv[active]))]
            if len(active) == 0:
                break
            part = context.select(active)
            logits, grads = part.jacobian(x[active], candidates)
            queries[active] += 1
            gradients[active] += logits.shape[1]
            r = step_to_boundary(logits, grads, x[active], norm, bounds)
            x[active] = bounds.clip(x[active] + r)
            delta = x[active] - part.images
            x_adv[active] = bounds.clip(part.images + (1 + overshoot) * delta)
        return context.minimal_result(x_adv, queries, gradients)


def step_to_boundary(
    logits: Tensor, grads: Tensor, x: Tensor, norm: Norm, bounds: Bounds
) -> Tensor:
    """The shortest step r (N, C, H, W) from x to a boundary of the linearized model.

    logits (N, M); grads (N, M, C, H, W), theirs; the first are those of the class to leave, 0.
    With f′ₖ = fₖ − f₀ and w′ₖ = ∇fₖ − ∇f₀, the boundary with class k is at distance
    abs(f′ₖ) / ‖w′ₖ‖, in the dual norm: L2 for L2, L1 for L∞.
    """
    f = (logits[:, 1:] - logits[:, :1]).abs()
    w = grads[:, 1:] - grads[:, :1]
    w_free = w.masked_fill(blocked_by_box(w, x[:, None], bounds), 0.0)
    order = 2 if norm == "l2" else 1
    length, length_free = (
        torch.linalg.vector_norm(part.flatten(2), ord=order, dim=2) for part in (w, w_free)
    )
    # Where no free pixel has a gradient the boundary is infinitely far; there is no step at all if
    # that is so for every class.
    distance = torch.where(length_free > 0, f / length, torch.inf)
    l_hat = distance.argmin(dim=1)
    rows = torch.arange(len(l_hat), device=l_hat.device)
    f_hat, w_hat = f[rows, l_hat], w_free[rows, l_hat]
    length, length_free = length[rows, l_hat], length_free[rows, l_hat]
    # Without the box r = f_hat / ‖w_hat‖₂² · w_hat, and f_hat / ‖w_hat‖₁ · sign(w_hat) in L∞.
    # The fraction of the gap that the paper's step closes within the box.
    fraction = ((length_free / length) ** order).clamp_min(0.5)
    scale = torch.where(length_free > 0, fraction * f_hat / length_free, 0.0)
    if norm == "linf":
        return batch_view(scale) * w_hat.sign()
    return batch_view(scale / torch.where(length_free > 0, length_free, 1.0)) * w_hat
