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

    Exact for a linear model (times 1 + overshoot) where the box allows the step. The paper has no
    box; here pixels that it holds back take no part in a step, or the search would stall there.
    All classes are candidates, as in the paper, while its code takes the ten most likely. A step
    costs K + 1 passes and K gradients: the images and a batch of K copies. Raises ValueError or
    TypeError naming the argument and the rule it breaks.
    """
    check_choice("norm", norm, ("l2", "linf"))
    check_count("steps", steps)
    check_at_least("overshoot", overshoot, 0)
    with posed(model, images, labels, None, bounds) as problem:
        return _search(problem, norm, steps, overshoot)


def _search(problem: Problem, norm: Norm, steps: int, overshoot: float) -> AttackResult:
    found, bounds = problem.images.clone(), problem.bounds
    total = torch.zeros_like(found)
    queries, gradients = torch.zeros_like(problem.labels), torch.zeros_like(problem.labels)
    left = torch.arange(len(found), device=found.device)
    for _ in range(steps):
        part = problem.subset(left)
        logits, slopes = part.jacobian(found[left])
        queries[left] += 1 + logits.shape[1]
        gradients[left] += logits.shape[1]
        going = ~part.fooled(logits)
        left = left[going]
        if len(left) == 0:
            break
        own, clean = problem.labels[left], problem.images[left]
        normals = _normals(slopes[going], own, found[left], bounds)
        step = shortest_step(logits[going], normals, own, norm)
        total[left] = bounds.clip(clean + total[left] + step) - clean
        found[left] = bounds.clip(clean + (1 + overshoot) * total[left])
    return problem.finish_nearest(found, queries, gradients)


def shortest_step(logits: Tensor, normals: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """The shortest step (N, C, H, W) to a boundary of a linear model.

    logits (N, K); normals (N, K, C, H, W), the gradient of each logit less that of the label's;
    labels (N,), the classes to leave. The boundary with class k lies |f| / ‖w‖ away, f the gap of
    the logits, w the normal, and ‖·‖ the dual norm: L2 for L2, L1 for L∞.
    """
    rows = torch.arange(len(labels), device=labels.device)
    gaps = logits[rows, labels][:, None] - logits
    lengths = torch.linalg.vector_norm(normals.flatten(2), ord=2 if norm == "l2" else 1, dim=2)
    # A flat direction leads nowhere: infinitely far, and no step where all are flat.
    away = torch.where(lengths > 0, gaps / lengths, torch.inf)
    size, nearest = away.scatter(1, labels[:, None], torch.inf).min(dim=1)
    size = torch.where(size.isfinite(), size, 0.0)
    normal, length = normals[rows, nearest], lengths[rows, nearest]
    if norm == "linf":
        return column(size) * normal.sign()
    return column(size / torch.where(length > 0, length, 1.0)) * normal


def _normals(slopes: Tensor, labels: Tensor, images: Tensor, bounds: Bounds) -> Tensor:
    # Pixels that the box holds back cannot help: with them the search stalls at the box.
    rows = torch.arange(len(labels), device=labels.device)
    normals = slopes - slopes[rows, labels][:, None]
    pixels = images[:, None]
    held = ((normals > 0) & (pixels >= bounds.upper)) | ((normals < 0) & (pixels <= bounds.lower))
    return normals.masked_fill(held, 0.0)
