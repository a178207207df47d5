"""Decoupled direction and norm: an L2 sphere that shrinks and grows around the boundary.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger 2019, Algorithm 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_count,
)
from armsrace.losses import log_odds
from armsrace.norms import batch_view, distances, normalize

FIRST_ALPHA, LAST_ALPHA = 1.0, 0.01
"""The lengths α of the first and the last step, in widths of the box."""


def ddn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 100,
    init_epsilon: float | None = None,
    gamma: float = 0.05,
    levels: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Gradient steps, each projected onto an L2 sphere that shrinks after a success, else grows.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        steps: K, gradient steps. Their lengths α fall from 1 to 0.01 of the box along half a
            cosine. All are taken, except for an image that is misclassified at the start.
        init_epsilon: ε₀, the first radius, L2 in pixel units; the width of the box by default.
        gamma: γ < 1, the fraction by which the radius changes at each step.
        levels: how many values a pixel may have, such as 256 in a file; None does not round.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The nearest success of all steps; the clean image where there is none.

    Differences from the paper:
        * g is the gradient of log((1 − p) / p), not of the cross-entropy −log p. The direction is
          the same, but ours does not vanish where the model is confident. So we need no random
          direction, which the authors' code takes where the gradient is zero.
        * No radius exceeds the distance to the farthest corner of the box, as in Foolbox.

    Cost:
        One forward and one backward pass per step, and two forward passes.

    References:
        Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger 2019, "Decoupling direction and
        norm for efficient gradient-based L2 adversarial attacks and defenses", Algorithm 1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.ddn(model, digits.images, digits.labels, steps=20)
        >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    check_count("steps", steps)
    init_epsilon = bounds.width if init_epsilon is None else init_epsilon
    check_at_least("init_epsilon", init_epsilon, 1e-6)
    check_at_least("gamma", gamma, 0)
    if gamma >= 1:
        raise ValueError(f"gamma must be < 1, got {gamma:g}")
    if levels is not None:
        check_count("levels", levels, 2)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        active = (~context.is_adversarial(context.logits(context.images))).nonzero()[:, 0]
        x_adv, passes = context.images.clone(), torch.zeros_like(context.labels)
        if len(active) > 0:
            part = context.select(active)
            x_adv[active] = _algorithm_1(part, steps, init_epsilon, gamma, levels)
            passes[active] = steps
        return context.minimal_result(x_adv, 1 + passes, passes)


def _algorithm_1(
    context: AttackContext, steps: int, init_epsilon: float, gamma: float, levels: int | None
) -> Tensor:
    """The nearest adversarial images (N, C, H, W) of all steps, else the last iterates."""
    x, bounds = context.images, context.bounds
    best_adv, x_k = x, x
    farthest = distances(torch.maximum(x - bounds.lower, bounds.upper - x), "l2")
    epsilon = torch.full_like(farthest, init_epsilon)
    best_distance = torch.full_like(farthest, torch.inf)
    for k in range(steps):
        _, g, is_adversarial = context.loss_grad_and_success(x_k, log_odds)
        delta = x_k - x
        distance = distances(delta, "l2")
        nearer = is_adversarial & (distance < best_distance)
        best_distance = torch.where(nearer, distance, best_distance)
        best_adv = torch.where(batch_view(nearer), x_k, best_adv)
        cosine = (1 + math.cos(math.pi * k / steps)) / 2
        alpha = (LAST_ALPHA + (FIRST_ALPHA - LAST_ALPHA) * cosine) * bounds.width
        epsilon = torch.where(is_adversarial, (1 - gamma) * epsilon, (1 + gamma) * epsilon)
        epsilon = torch.minimum(epsilon, farthest)
        direction = normalize(delta + alpha * normalize(g, "l2"), "l2")
        x_k = _rounded(bounds.clip(x + batch_view(epsilon) * direction), levels, bounds)
    # The last iterate has not been judged: it may be the only success.
    return torch.where(batch_view(best_distance.isfinite()), best_adv, x_k)


def _rounded(images: Tensor, levels: int | None, bounds: Bounds) -> Tensor:
    """Images whose pixels have one of so many values, or as they are without levels."""
    if levels is None:
        return images
    unit = ((images - bounds.lower) / bounds.width * (levels - 1)).round() / (levels - 1)
    return bounds.clip(bounds.lower + unit * bounds.width)
