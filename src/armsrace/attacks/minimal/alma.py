"""ALMA: an augmented Lagrangian method, which learns the weight of the constraint as it goes.

Rony, Granger, Pedersoli and Ben Ayed 2021, Algorithm 1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context, checked_grad
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.losses import margin
from armsrace.norms import batch_view, blocked_by_box, distances

M, TAU, GAMMA = 10, 0.95, 1.2
"""Every M steps ρ grows by the factor γ, unless the constraint y has fallen below τ y."""

SMALLEST_MU, LARGEST_MU = 1e-6, 1e12
"""The interval that holds the multiplier μ."""


def alma(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Literal["l2", "l1"] = "l2",
    steps: int = 1000,
    init_epsilon: float | None = None,
    alpha: float = 0.9,
    last_step: float = 0.01,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Minimize the distance plus a penalty of the constraint, whose weight μ is learned.

    The constraint is y < 0, where y is the difference of logits ratio (DLR). The loss is
    ‖δ‖ + P₂(y, ρ, μ), with a penalty-Lagrangian function P₂ and a multiplier μ that follows its
    derivative in y.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l2" or "l1", the distance to minimize.
        steps: N. All are taken, except for an image that is misclassified at the start.
        init_epsilon: ε, how far the first step leads, in widths of the box; None, the paper's, for
            0.1 in L2 and 0.5 in L1.
        alpha: α < 1, the smoothing of μ, and of RMSProp's squares and momentum.
        last_step: the fraction of the step size η that is left at the end. It falls
            exponentially from an image's first success on.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The nearest success of all steps; the clean image where there is none.

    Differences from the paper:
        * η follows from the pixels that the box lets move, without the paper's line search, and an
          image whose first gradient is zero gets no random direction.
        * With too few classes for the DLR (two, or three with targets) the margin is divided by
          its absolute value at the clean image.
        * A success must exceed the rounding error of the logits. The authors' code asks for 1e-4.

        As in the paper, no image stops early: stopping one that gains less than 0.1 % in a fifth
        of the steps would save half of them on s3-cnn, but end 2.5 % further away in L2.

    Cost:
        One forward and one backward pass per step, and two forward passes.

    References:
        Rony, Granger, Pedersoli and Ben Ayed 2021, "Augmented Lagrangian adversarial attacks",
        Algorithm 1; §3.3 (P₂), §4 (the DLR, RMSProp and η).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.alma(model, digits.images, digits.labels, steps=100)
        >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    check_choice("norm", norm, ("l2", "l1"))
    check_count("steps", steps)
    if init_epsilon is None:
        init_epsilon = {"l2": 0.1, "l1": 0.5}[norm]
    check_at_least("init_epsilon", init_epsilon, 1e-6)
    check_at_least("alpha", alpha, 0)
    if alpha >= 1:
        raise ValueError(f"alpha must be < 1, got {alpha:g}")
    check_at_least("last_step", last_step, 1e-6)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        margins, is_adversarial = context.loss(context.images, margin)
        active = (~is_adversarial).nonzero()[:, 0]
        x_adv, passes = context.images.clone(), torch.zeros_like(context.labels)
        if len(active) > 0:
            x_adv[active] = _algorithm_1(
                context.select(active), margins[active], norm, steps, init_epsilon, alpha, last_step
            )
            passes[active] = steps
        return context.minimal_result(x_adv, 1 + passes, passes)


def _algorithm_1(
    context: AttackContext,
    margins: Tensor,
    norm: Literal["l2", "l1"],
    steps: int,
    init_epsilon: float,
    alpha: float,
    last_step: float,
) -> Tensor:
    """The nearest adversarial images (N, C, H, W) of all steps, else the clean ones.

    margins (N,): of the clean images. δ counts in widths of the box.
    """
    x, bounds = context.images, context.bounds
    width = bounds.width
    x_adv, best_adv, best_distance = x, x, torch.full_like(margins, torch.inf)
    rho, mu, eta = torch.ones_like(margins), torch.ones_like(margins), torch.ones_like(margins)
    square, momentum = torch.ones_like(x), torch.zeros_like(x)
    first_success = torch.full_like(margins, steps + 1)
    y_before = torch.full_like(margins, torch.inf)
    for i in range(steps):
        with torch.enable_grad():
            x_i = x_adv.detach().requires_grad_()
            distance = distances((x_i - x) / width, norm)
            y = _constraint(context, context.logits(x_i), margins)
            if i > 0:
                mu = _multiplier(y.detach(), rho, mu).lerp(mu, alpha)
                mu = mu.clamp(SMALLEST_MU, LARGEST_MU)
            if i > 0 and (i + 1) % M == 0:
                slow = (first_success > steps) & (y.detach() >= TAU * y_before)
                rho = torch.where(slow, GAMMA * rho, rho)
            penalty = _p2(y, rho, mu)
            # Alone at first, where the distance has no gradient: a model must give one.
            loss = penalty if i == 0 else distance + penalty
            g = width * checked_grad(loss.sum(), x_i)
        distance, y = distance.detach(), y.detach()
        if i == 0 or (i + 1) % M == 0:
            y_before = y
        nearer = (y < 0) & (distance < best_distance)
        best_distance = torch.where(nearer, distance, best_distance)
        best_adv = torch.where(batch_view(nearer), x_adv, best_adv)
        first_success = torch.where(y < 0, first_success.clamp_max(i), first_success)
        if i == 0:
            free = distances(g.masked_fill(blocked_by_box(-g, x, bounds), 0.0), norm)
            eta = torch.where(free > 0, init_epsilon / free, 0.0)
        decay = last_step ** ((i - first_success).clamp_min(0) / (steps - first_success))
        square = square.mul(alpha).addcmul(g, g, value=1 - alpha)
        momentum = momentum.mul(alpha).addcdiv(g, square.sqrt().add(1e-8))
        x_adv = bounds.clip(x_adv - width * batch_view(eta * decay) * momentum)
    return best_adv


def _constraint(context: AttackContext, logits: Tensor, margins: Tensor) -> Tensor:
    """y (N,), the DLR: below zero where the image is adversarial beyond rounding."""
    rounding = 64 * torch.finfo(margins.dtype).eps * (1 + margins.abs())
    difference = rounding - context.adversarial_loss(logits, margin)
    needed = 3 if context.targets is None else 4
    if logits.shape[1] < needed:
        return difference / (rounding + margins.abs())
    z = logits.topk(needed, dim=1).values
    return difference / (z[:, 0] - z[:, 2:].mean(dim=1) + rounding)


def _p2(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """The penalty-Lagrangian function P₂ (N,)."""
    above = mu * y + mu * rho * y**2 + rho**2 * y**3 / 6
    below = mu * y / (1 - rho * y.clamp_max(0))
    return torch.where(y >= 0, above, below)


def _multiplier(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """∂P₂ / ∂y (N,)."""
    with torch.enable_grad():
        y = y.clone().requires_grad_()
        return torch.autograd.grad(_p2(y, rho, mu).sum(), y)[0]
