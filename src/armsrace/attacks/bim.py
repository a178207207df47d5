"""The basic iterative method and the iterative least-likely class (Kurakin et al. 2017, §2)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.margins import Loss, cross_entropy
from armsrace.attacks.pgd import ascend
from armsrace.attacks.problem import posed
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least, check_count


def bim(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int | None = None,
    step_size: float = 1 / 255,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
) -> AttackResult:
    """FGSM again and again in small steps, kept within epsilon of the image (L∞).

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units.
        steps: the paper's count by default, min(ε + 4, 1.25 ε) with ε in steps, at least 1.
        step_size: in pixel units; the paper's is one grey level of 255.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: of one image each.

    Starts at the image itself: PGD without a random start. Raises ValueError or TypeError naming
    the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.bim(model, digits.images, digits.labels, epsilon=0.2)
    >>> found.success.all(), found.gradients[0]
    (tensor(True), tensor(55))
    """
    check_at_least("epsilon", epsilon, 0)
    check_at_least("step_size", step_size, 1e-6)
    steps = kurakin_steps(epsilon, step_size) if steps is None else steps
    check_count("steps", steps)
    with posed(model, images, labels, targets, bounds) as problem:
        moved = ascend(problem, problem.images, epsilon, steps, step_size, "linf", loss)
        return problem.finish(moved, queries=steps, gradients=steps)


def least_likely(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int | None = None,
    step_size: float = 1 / 255,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The basic iterative method towards the class that the model finds least likely (§2.3).

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon, steps, step_size, bounds: as for `bim`.

    Success means that the least likely class was reached. Raises ValueError or TypeError naming
    the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.least_likely(model, digits.images, digits.labels, epsilon=0.4)
    >>> found.success.any(), (found.images - digits.images).abs().max()
    (tensor(True), tensor(0.4000))
    """
    with posed(model, images, labels, None, bounds) as problem, torch.no_grad():
        targets = problem.logits(problem.images).argmin(dim=1)
    result = bim(
        model, images, labels, epsilon=epsilon, steps=steps, step_size=step_size, targets=targets,
        bounds=bounds,
    )  # fmt: skip
    return AttackResult(result.images, result.success, result.queries + 1, result.gradients)


def kurakin_steps(epsilon: float, step_size: float = 1 / 255) -> int:
    """The paper's number of steps for a budget: min(ε + 4, 1.25 ε), ε counted in steps (§2.2)."""
    budget = epsilon / step_size
    return max(1, int(min(budget + 4, 1.25 * budget)))
