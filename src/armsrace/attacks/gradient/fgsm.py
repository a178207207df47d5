"""The fast gradient sign method (Goodfellow et al. 2015, §4) and RAND+FGSM (Tramèr et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_epsilon,
)
from armsrace.losses import Loss, cross_entropy
from armsrace.norms import BUDGETED, linear_maximizer_l1, steepest_direction
from armsrace.randomness import default_generator, signs


def fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
) -> AttackResult:
    """One step of length epsilon in the direction in which the linearized loss increases fastest.

    In L∞ this is x + ε · sign(∇ₓ J(x, y)), clipped to the box.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`; a tensor (N,) gives each image its own.
        norm: "linf" (the paper's), "l2" or "l1".
        targets: (N,) int64 wanted classes; the step then decreases their loss.
        bounds: the box of valid pixels.
        loss: J, per image; the paper's is cross-entropy.

    Returns:
        The images after the step. It is exact for a linear model with two classes: in L∞; in L1,
        where the pixels with the largest gradient move to the end of the box one by one; and in L2
        where no pixel meets the box.

    Differences from the paper:
        * The result is clipped to the box.
        * There are steps in L2 and in L1.

    Cost:
        Two forward passes and one backward pass.

    References:
        Goodfellow, Shlens and Szegedy 2015, "Explaining and harnessing adversarial examples", §4.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.fgsm(model, digits.images, digits.labels, epsilon=0.2)
        >>> found.success.all(), (found.images - digits.images).abs().max()
        (tensor(True), tensor(0.2000))
    """
    check_epsilon(epsilon)
    check_choice("norm", norm, BUDGETED)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        x_adv = _one_step(context, context.images, context.epsilon, norm, loss)
        return context.result(x_adv, queries=1, gradients=1)


def rand_fgsm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    alpha: float | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """A random step of ±alpha in each pixel, then an FGSM step of epsilon − alpha (L∞).

    x′ = x + α · sign(N(0, I)); x_adv = x′ + (ε − α) · sign(∇ₓ′ J(x′, y)). The random step
    escapes the sharp curvature around the image, where the gradient may be misleading. Many
    implementations take the gradient step with the whole epsilon, and so exceed the budget.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the whole budget, in pixel units; a tensor (N,) gives each image its own.
        alpha: the random part, between 0 and epsilon; half of it by default, as in the paper.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after both steps.
        loss: J, per image.
        generator: source of the random signs; a new one seeded 0 by default.

    Cost:
        Two forward passes and one backward pass.

    References:
        Tramèr, Kurakin, Papernot, Goodfellow, Boneh and McDaniel 2018, "Ensemble adversarial
        training: attacks and defenses", §4.1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.rand_fgsm(model, digits.images, digits.labels, epsilon=0.2)
        >>> found.success.all(), (found.images - digits.images).abs().max()
        (tensor(True), tensor(0.2000))
    """
    check_epsilon(epsilon)
    if alpha is not None:
        check_at_least("alpha", alpha, 0)
        smallest = epsilon.min().item() if isinstance(epsilon, Tensor) else epsilon
        if alpha > smallest:
            raise ValueError(f"alpha must be <= epsilon, got {alpha:g} > {smallest:g}")
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        random_signs = signs(context.images, default_generator(generator))
        first = context.epsilon / 2 if alpha is None else alpha
        x_prime = bounds.clip(context.images + first * random_signs)
        x_adv = _one_step(context, x_prime, context.epsilon - first, "linf", loss)
        return context.result(x_adv, queries=1, gradients=1)


def _one_step(
    context: AttackContext, x: Tensor, epsilon: float | Tensor, norm: Norm, loss: Loss
) -> Tensor:
    """Images (N, C, H, W) after one step of length epsilon from x, clipped to the box."""
    _, grad = context.loss_and_grad(x, loss)
    if norm == "l1":
        delta = linear_maximizer_l1(grad, epsilon, x, context.bounds)
    else:
        delta = epsilon * steepest_direction(grad, norm, x, context.bounds)
    return context.within(x + delta, norm)
