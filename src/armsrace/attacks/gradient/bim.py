"""The basic iterative method and its least-likely-class variant (Kurakin et al. 2017, §2)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import attack_context
from armsrace.attacks.gradient.pgd import ascend
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least, check_count
from armsrace.losses import Loss, cross_entropy


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
    """FGSM repeated in small steps, each clipped to within epsilon of the image (L∞).

    x₀ = x, xₙ₊₁ = Clip(xₙ + α · sign(∇ₓ J(xₙ, y))). This is PGD without a random start.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units.
        steps: the paper's number by default, min(ε + 4, 1.25 ε) with ε in units of `step_size`,
            and at least 1.
        step_size: α, in pixel units; the paper's is one gray level of 255.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: J, per image.

    Cost:
        One forward and one backward pass per step, and one last forward pass.

    References:
        Kurakin, Goodfellow and Bengio 2017, "Adversarial examples in the physical world", §2.2.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.bim(model, digits.images, digits.labels, epsilon=0.2)
        >>> found.success.all(), found.gradients[0]
        (tensor(True), tensor(55))
    """
    check_at_least("epsilon", epsilon, 0)
    check_at_least("step_size", step_size, 1e-6)
    steps = kurakin_steps(epsilon, step_size) if steps is None else steps
    check_count("steps", steps)
    with attack_context(model, images, labels, targets, bounds) as context:
        x_adv = ascend(context, context.images, epsilon, steps, step_size, "linf", loss)
        return context.result(x_adv, queries=steps, gradients=steps)


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
    """The basic iterative method toward the class that the model finds least likely.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units.
        steps: as for `bim`.
        step_size: as for `bim`.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The last iterates. Success means that the least likely class is predicted.

    Cost:
        That of `bim`, and one forward pass to find the classes.

    References:
        Kurakin, Goodfellow and Bengio 2017, "Adversarial examples in the physical world", §2.3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.least_likely(model, digits.images, digits.labels, epsilon=0.4)
        >>> found.success.any(), (found.images - digits.images).abs().max()
        (tensor(True), tensor(0.4000))
    """
    with attack_context(model, images, labels, None, bounds) as context, torch.no_grad():
        targets = context.logits(context.images).argmin(dim=1)
    result = bim(
        model, images, labels, epsilon=epsilon, steps=steps, step_size=step_size, targets=targets,
        bounds=bounds,
    )  # fmt: skip
    return AttackResult(result.images, result.success, result.queries + 1, result.gradients)


def kurakin_steps(epsilon: float, step_size: float = 1 / 255) -> int:
    """The paper's number of steps: min(ε + 4, 1.25 ε), with ε in units of step_size (§2.2)."""
    levels = epsilon / step_size
    return max(1, int(min(levels + 4, 1.25 * levels)))
