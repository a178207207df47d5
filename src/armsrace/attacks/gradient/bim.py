"""The basic iterative method and its least-likely-class variant (Kurakin et al. 2017, §2)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.attacks.gradient.pgd import ascend
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_count,
    check_epsilon,
)
from armsrace.losses import Loss, cross_entropy


def bim(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    steps: int | None = None,
    step_size: float | None = None,
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
        epsilon: the budget in pixel units; a tensor (N,) gives each image its own.
        steps: the paper's number by default, min(ε + 4, 1.25 ε) with ε in units of `step_size`,
            and at least 1.
        step_size: α, in pixel units; by default the paper's, one gray level of 255 in the box.
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
    _check(epsilon, steps, step_size)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        return _iterate(context, steps, step_size, loss)


def least_likely(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    steps: int | None = None,
    step_size: float | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The basic iterative method toward the class that the model finds least likely.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units; a tensor (N,) gives each image its own.
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
    _check(epsilon, steps, step_size)
    with attack_context(model, images, labels, None, bounds, epsilon) as context:
        with torch.no_grad():
            targets = context.logits(context.images).argmin(dim=1)
        aimed = replace(context, targets=targets)
        result = _iterate(aimed, steps, step_size, cross_entropy)
    return replace(result, queries=result.queries + 1)


def _check(epsilon: float | Tensor, steps: int | None, step_size: float | None) -> None:
    """Check the options of both."""
    check_epsilon(epsilon)
    if step_size is not None:
        check_at_least("step_size", step_size, 1e-6)
    if steps is not None:
        check_count("steps", steps)


def _iterate(
    context: AttackContext, steps: int | None, step_size: float | None, loss: Loss
) -> AttackResult:
    """xₙ₊₁ = Clip(xₙ + α · sign(∇ₓ J(xₙ, y))), in as many steps as an image's budget takes."""
    alpha = context.bounds.width / 255 if step_size is None else step_size
    if steps is None and isinstance(context.epsilon, Tensor):
        budgets = context.epsilon.flatten().tolist()
        counts = torch.tensor([kurakin_steps(one, alpha) for one in budgets])
    else:
        count = kurakin_steps(context.epsilon, alpha) if steps is None else steps
        counts = torch.full((len(context.labels),), count)
    counts, x_adv = counts.to(context.labels), context.images.clone()
    for count in counts.unique().tolist():
        part = context.select(counts == count)
        x_adv[counts == count] = ascend(part, part.images, count, alpha, "linf", loss)
    return context.result(x_adv, queries=counts, gradients=counts)


def kurakin_steps(epsilon: float, step_size: float = 1 / 255) -> int:
    """The paper's number of steps: min(ε + 4, 1.25 ε), with ε in units of step_size (§2.2)."""
    levels = epsilon / step_size
    return max(1, int(min(levels + 4, 1.25 * levels)))
