"""The fast gradient sign method (Goodfellow, Shlens and Szegedy 2015, §4)."""

from __future__ import annotations

from torch import Tensor

from armsrace.attacks.margins import Loss, cross_entropy
from armsrace.attacks.norms import BUDGETED, fullest_l1, steepest
from armsrace.attacks.problem import Problem, posed
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
)


def fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
) -> AttackResult:
    """One step of length epsilon where the loss, taken as linear, rises fastest.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`.
        norm: "linf" (the paper's), "l2", or "l1".
        targets: (N,) int64 wanted classes; the step then lowers their loss.
        bounds: the box of valid pixels.
        loss: of one image each; the paper's is cross-entropy.

    Exact for the loss taken as linear, and so for a linear model of two classes: under L∞, and
    under L1, where the box is part of the step: the steepest pixels are filled to the brim one by
    one, not all moved in proportion to the gradient. Under L2 the box is applied after the step,
    so the step is exact where no pixel meets it. Raises ValueError or TypeError naming the argument
    and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.fgsm(model, digits.images, digits.labels, epsilon=0.2)
    >>> found.success.all(), (found.images - digits.images).abs().max()
    (tensor(True), tensor(0.2000))
    """
    check_at_least("epsilon", epsilon, 0)
    check_choice("norm", norm, BUDGETED)
    with posed(model, images, labels, targets, bounds) as problem:
        moved = step(problem, problem.images, epsilon, norm, loss)
        return problem.finish(moved, queries=1, gradients=1)


def step(problem: Problem, images: Tensor, epsilon: float, norm: Norm, loss: Loss) -> Tensor:
    """Images (N, C, H, W) after one full step, clipped to the box."""
    gradient, _ = problem.ascent(images, loss)
    if norm == "l1":
        return problem.bounds.clip(images + fullest_l1(gradient, epsilon, images, problem.bounds))
    direction = steepest(gradient, norm, images, problem.bounds)
    return problem.bounds.clip(images + epsilon * direction)
