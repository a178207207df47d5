"""Decoupled direction and norm: a sphere that shrinks and grows around the boundary.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger 2019, Algorithm 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.margins import log_odds
from armsrace.attacks.norms import column, distances, unit
from armsrace.attacks.problem import Problem, gradient_of, posed
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_count,
)

FIRST_STEP, LAST_STEP = 1.0, 0.01


def ddn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 100,
    init_epsilon: float = 1.0,
    gamma: float = 0.05,
    levels: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Steps up the loss, each put on an L2 sphere that shrinks after a success and else grows.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        steps: gradient steps, of lengths that fall from 1 to 0.01 along half a cosine; all are
            taken, except for an image that is wrong from the start.
        init_epsilon: the first radius, L2 in pixel units.
        gamma: the fraction by which the radius changes at each step, below 1.
        levels: how many values a pixel may have, as 256 in a file; None leaves pixels as they are.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.

    The nearest success is returned. The direction is the cross-entropy's, as in the paper, but
    taken from log p / (1 − p), whose gradient has the same direction and neither vanishes nor
    rounds away where the model is sure; so the random direction of the authors' code, for a
    gradient of zero, is left out: only a constant model would need it. As in Foolbox, no radius
    exceeds the way to the farthest corner of the box. A step costs one pass and one gradient.
    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.ddn(model, digits.images, digits.labels, steps=20)
    >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
    True
    """
    check_count("steps", steps)
    check_at_least("init_epsilon", init_epsilon, 1e-6)
    check_at_least("gamma", gamma, 0)
    if gamma >= 1:
        raise ValueError(f"gamma must be < 1, got {gamma:g}")
    if levels is not None:
        check_count("levels", levels, 2)
    with posed(model, images, labels, targets, bounds) as problem, torch.no_grad():
        left = (~problem.fooled(problem.logits(problem.images))).nonzero()[:, 0]
        found, spent = problem.images.clone(), torch.zeros_like(problem.labels)
        if len(left) > 0:
            found[left] = _nearest(problem.subset(left), steps, init_epsilon, gamma, levels)
            spent[left] = steps
        return problem.finish_nearest(found, 1 + spent, spent)


def _nearest(
    problem: Problem, steps: int, init_epsilon: float, gamma: float, levels: int | None
) -> Tensor:
    clean, bounds = problem.images, problem.bounds
    nearest, current = clean, clean
    farthest = distances(torch.maximum(clean - bounds.lower, bounds.upper - clean), "l2")
    radius, shortest = torch.full_like(farthest, init_epsilon), torch.full_like(farthest, torch.inf)
    for step in range(steps):
        slope, fooled = _slope(problem, current)
        change = current - clean
        size = distances(change, "l2")
        better = fooled & (size < shortest)
        shortest = torch.where(better, size, shortest)
        nearest = torch.where(column(better), current, nearest)
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        length = LAST_STEP + (FIRST_STEP - LAST_STEP) * cosine
        radius = torch.minimum(radius * torch.where(fooled, 1 - gamma, 1 + gamma), farthest)
        change = unit(change + length * unit(slope, "l2"), "l2")
        current = _rounded(bounds.clip(clean + column(radius) * change), levels, bounds)
    return torch.where(column(shortest.isfinite()), nearest, current)


def _slope(problem: Problem, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = problem.logits(images)
        slope = gradient_of(problem.adversarial_loss(logits, log_odds).sum(), images)
    return slope, problem.fooled(logits.detach())


def _rounded(images: Tensor, levels: int | None, bounds: Bounds) -> Tensor:
    if levels is None:
        return images
    width = bounds.upper - bounds.lower
    share = ((images - bounds.lower) / width * (levels - 1)).round() / (levels - 1)
    return bounds.clip(bounds.lower + share * width)
