"""The momentum iterative method (Dong et al. 2018, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.margins import Loss, cross_entropy
from armsrace.attacks.norms import project, unit
from armsrace.attacks.problem import posed
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least, check_count


def momentum(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
) -> AttackResult:
    """Iterated sign steps along a running sum of gradients, each of L1 length one (L∞).

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units.
        steps: gradient steps, all taken.
        step_size: in pixel units; epsilon / steps by default, as in the paper.
        decay: the paper's μ, what is kept of the sum at each step; 0 gives the basic method.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: of one image each.

    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.momentum(model, digits.images, digits.labels, epsilon=0.2, steps=5)
    >>> found.success.all(), found.gradients[0]
    (tensor(True), tensor(5))
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("steps", steps)
    check_at_least("decay", decay, 0)
    step_size = epsilon / steps if step_size is None else step_size
    check_at_least("step_size", step_size, 0)
    with posed(model, images, labels, targets, bounds) as problem:
        current, running = problem.images, torch.zeros_like(problem.images)
        for _ in range(steps):
            gradient, _ = problem.ascent(current, loss)
            running = decay * running + unit(gradient, "l1")
            moved = current + step_size * running.sign()
            perturbation = project(moved - problem.images, "linf", epsilon)
            current = bounds.clip(problem.images + perturbation)
        return problem.finish(current, queries=steps, gradients=steps)
