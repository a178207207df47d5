"""The momentum iterative method (Dong et al. 2018, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import attack_context
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
from armsrace.norms import normalize, project


def mi_fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
) -> AttackResult:
    """Iterated sign steps along the accumulated gradient, where each gradient has L1 norm 1 (L∞).

    gₜ₊₁ = μ · gₜ + ∇ₓ J / ‖∇ₓ J‖₁, xₜ₊₁ = xₜ + α · sign(gₜ₊₁).

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units; a tensor (N,) gives each image its own.
        steps: T, the gradient steps; all are taken.
        step_size: α, in pixel units; epsilon / steps by default, as in the paper.
        decay: μ, the fraction of g that is kept at each step; 0 gives the basic iterative method.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: J, per image.

    Cost:
        One forward and one backward pass per step, and one last forward pass.

    References:
        Dong, Liao, Pang, Su, Zhu, Hu and Li 2018, "Boosting adversarial attacks with momentum",
        Algorithm 1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.mi_fgsm(model, digits.images, digits.labels, epsilon=0.2, steps=5)
        >>> found.success.all(), found.gradients[0]
        (tensor(True), tensor(5))
    """
    check_epsilon(epsilon)
    check_count("steps", steps)
    check_at_least("decay", decay, 0)
    if step_size is not None:
        check_at_least("step_size", step_size, 0)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        x_adv, g = context.images, torch.zeros_like(context.images)
        alpha = context.epsilon / steps if step_size is None else step_size
        for _ in range(steps):
            _, grad = context.loss_and_grad(x_adv, loss)
            g = decay * g + normalize(grad, "l1")
            delta = project(x_adv + alpha * g.sign() - context.images, "linf", context.epsilon)
            x_adv = context.within(context.images + delta, "linf")
        return context.result(x_adv, queries=steps, gradients=steps)
