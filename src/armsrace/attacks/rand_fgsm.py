"""RAND+FGSM: a random step out of the sharp surroundings, then FGSM (Tramèr et al. 2018, §4.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.fgsm import step
from armsrace.attacks.margins import Loss, cross_entropy
from armsrace.attacks.problem import posed
from armsrace.attacks.randomness import default_generator, signs
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least


def rand_fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    alpha: float | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """A step of ±alpha in each pixel by coin toss, then an FGSM step of epsilon − alpha (L∞).

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the whole budget, in pixel units.
        alpha: the random part, between 0 and epsilon; half of it by default, as in the paper.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after both steps.
        loss: of one image each.
        generator: where the coin tosses come from; a new one seeded 0 by default.

    Many codes take a whole epsilon for the gradient step and so leave the budget; the paper does
    not. Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.rand_fgsm(model, digits.images, digits.labels, epsilon=0.2)
    >>> found.success.all(), (found.images - digits.images).abs().max()
    (tensor(True), tensor(0.2000))
    """
    check_at_least("epsilon", epsilon, 0)
    alpha = epsilon / 2 if alpha is None else alpha
    check_at_least("alpha", alpha, 0)
    if alpha > epsilon:
        raise ValueError(f"alpha must be <= epsilon, got {alpha:g} > {epsilon:g}")
    with posed(model, images, labels, targets, bounds) as problem:
        tosses = signs(problem.images, default_generator(generator))
        start = bounds.clip(problem.images + alpha * tosses)
        moved = step(problem, start, epsilon - alpha, "linf", loss)
        return problem.finish(moved, queries=1, gradients=1)
