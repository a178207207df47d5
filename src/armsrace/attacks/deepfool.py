"""DeepFool: the nearest boundary of the linearised model, again and again.

Moosavi-Dezfooli, Fawzi and Frossard 2016, Algorithm 2, and §3.3 for L∞.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem, posed
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


def deepfool(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The sum of the shortest steps to the nearest class boundary, as if the model were linear.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l2" or "linf", in which the distance is kept short.
        steps: linearisations at most; an image is done once it is misclassified.
        overshoot: the found perturbation is lengthened by this fraction, since the boundary itself
            belongs to no class.
        bounds: the box of valid pixels, kept after each step.

    Exact for a linear model (times 1 + overshoot) while no pixel meets the box. The paper has no
    box. Here the pixels that it holds back take no part in a step; the others move as the paper
    has them, or as far as closes half the gap. Steps that close all of it within the box would be
    fewer, but bolder than a curved boundary rewards: they end further away. As in the paper the
    model is linearised at the point before the overshoot; the search ends once the point after it
    is misclassified, since the other may come ever closer and never cross. All classes are
    candidates, as in the paper, while its code takes the ten most likely. A step costs two passes
    and K gradients. Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.deepfool(model, digits.images, digits.labels)
    >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
    True
    """
    check_choice("norm", norm, ("l2", "linf"))
    check_count("steps", steps)
    check_at_least("overshoot", overshoot, 0)
    with posed(model, images, labels, None, bounds) as problem:
        return _search(problem, norm, steps, overshoot)


@torch.no_grad()
def _search(problem: Problem, norm: Norm, steps: int, overshoot: float) -> AttackResult:
    bounds = problem.bounds
    current, found = problem.images.clone(), problem.images.clone()
    queries, gradients = torch.zeros_like(problem.labels), torch.zeros_like(problem.labels)
    left = torch.arange(len(found), device=found.device)
    for _ in range(steps):
        part = problem.subset(left)
        queries[left] += 1
        left = left[~part.fooled(part.logits(found[left]))]
        if len(left) == 0:
            break
        part = problem.subset(left)
        logits, slopes = part.jacobian(current[left])
        queries[left] += 1
        gradients[left] += logits.shape[1]
        step = shortest_step(logits, slopes, part.labels, current[left], norm, bounds)
        current[left] = bounds.clip(current[left] + step)
        found[left] = bounds.clip(part.images + (1 + overshoot) * (current[left] - part.images))
    return problem.finish_nearest(found, queries, gradients)


def shortest_step(
    logits: Tensor, slopes: Tensor, labels: Tensor, images: Tensor, norm: Norm, bounds: Bounds
) -> Tensor:
    """The shortest step (N, C, H, W) from images to a boundary of the linearised model.

    logits (N, K) and their gradients slopes (N, K, C, H, W); labels (N,), the classes to leave.
    The boundary with class k lies |f| / ‖w‖ away, f the gap of the logits, w the difference of
    their gradients, and ‖·‖ the dual norm: L2 for L2, L1 for L∞ (Algorithm 2, lines 8 and 9).
    """
    rows = torch.arange(len(labels), device=labels.device)
    gaps = (logits[rows, labels][:, None] - logits).abs()
    normals = slopes - slopes[rows, labels][:, None]
    free = normals.masked_fill(_held(normals, images[:, None], bounds), 0.0)
    order = 2 if norm == "l2" else 1
    whole, length = (
        torch.linalg.vector_norm(side.flatten(2), ord=order, dim=2) for side in (normals, free)
    )
    # A flat direction leads nowhere: infinitely far, and no step where all are flat.
    away = torch.where(length > 0, gaps / whole, torch.inf).scatter(1, labels[:, None], torch.inf)
    nearest = away.argmin(dim=1)
    normal, whole, length = free[rows, nearest], whole[rows, nearest], length[rows, nearest]
    # The share of the gap that the paper's step would close within the box.
    share = ((length / whole) ** order).clamp_min(0.5)
    size = torch.where(length > 0, share * gaps[rows, nearest] / length, 0.0)
    if norm == "linf":
        return column(size) * normal.sign()
    return column(size / torch.where(length > 0, length, 1.0)) * normal


def _held(normals: Tensor, images: Tensor, bounds: Bounds) -> Tensor:
    return ((normals > 0) & (images >= bounds.upper)) | ((normals < 0) & (images <= bounds.lower))
