"""The Jacobian-based saliency map attack: few pixels, each changed as far as it goes.

Papernot et al. 2016, §III and Algorithms 2 and 3, as restated by Carlini and Wagner 2017, §III-C.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

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
from armsrace.losses import log_odds

Form = Literal["logits", "softmax"]
SCORES_AT_ONCE = 2**22
"""Pairs of pixels whose scores are in memory at the same time."""


def jsma(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    theta: float | None = None,
    gamma: float = 0.145,
    form: Form = "softmax",
    pixels: int = 2,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Saturates the most salient pixels, two at a time, until the image is adversarial.

    The saliency of a pair is −α · β where α > 0 > β, and zero elsewhere: α = ∂F_t/∂x is the
    gradient of the target's output, β = Σ_{j≠t} ∂F_j/∂x that of all others, each summed over the
    pair.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes. Without them the output of the true class decreases, by
            the same map with α and β exchanged (Wiyatno and Xu 2018), toward any other class.
        theta: θ, how far a chosen pixel moves, in pixel units, before it is clipped to `bounds`. By
            default the width of the box, which takes it to the upper end; minus that takes it to
            the lower.
        gamma: Υ, the fraction of the H · W pixels that may change.
        form: F is the "softmax" (JSMA-F) or, as in the paper, the "logits" (JSMA-Z).
        pixels: how many are chosen at a time: 2, or 1 for the paper's equation 8.
        bounds: the box of valid pixels.

    Returns:
        The first adversarial images; the clean image where the pixels run out.

    Differences from the paper:
        * A pixel moves with all its channels, whose gradients are summed, and only once. In the
          paper each channel is a feature, which may move again where θ < 1.
        * Pixels that cannot move in the direction of θ are left out from the start.
        * For the softmax we differentiate the log odds. Its gradient is that of the probability
          times a factor, and does not vanish where the model is confident.

    Cost:
        One forward pass per step and one backward pass, or two with logits, only for images still
        under search; and one last forward pass.

    References:
        Papernot, McDaniel, Jha, Fredrikson, Celik and Swami 2016, "The limitations of deep learning
        in adversarial settings", §III, equations 8 and 10, Algorithms 2 and 3. Carlini and Wagner
        2017, "Towards evaluating the robustness of neural networks", §III-C.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.jsma(model, digits.images, digits.labels)
        >>> evaluation.perturbation_sizes(digits.images, found, "l0").max() <= 0.145 * 28 * 28
        tensor(True)
    """
    theta = bounds.width if theta is None else theta
    if not 0 < abs(theta) < torch.inf:
        raise ValueError(f"theta must be finite and not 0, got {theta}")
    check_at_least("gamma", gamma, 0)
    if gamma > 1:
        raise ValueError(f"gamma must be <= 1, got {gamma:g}")
    check_choice("form", form, ("logits", "softmax"))
    check_count("pixels", pixels)
    if pixels > 2:
        raise ValueError(f"pixels must be 1 or 2, got {pixels}")
    with attack_context(model, images, labels, targets, bounds) as context:
        x_adv = context.images.clone()
        # Γ, the search domain (N, H · W). θ < 0 turns the sign of both gradients.
        end, sign = (bounds.upper, 1) if theta > 0 else (bounds.lower, -1)
        movable = (x_adv != end).any(dim=1).flatten(1)
        queries, gradients = torch.zeros_like(context.labels), torch.zeros_like(context.labels)
        active = torch.arange(len(x_adv), device=x_adv.device)
        # In floating point 50 / 784 · 784 is less than 50.
        for _ in range(int(gamma * movable.shape[1] + 1e-6) // pixels):
            part = context.select(active)
            logits, alpha, beta = _alpha_beta(part, x_adv[active], form)
            queries[active] += 1
            gradients[active] += 2 if form == "logits" else 1
            chosen, found = most_salient(sign * alpha, sign * beta, movable[active], pixels)
            going = found & ~part.is_adversarial(logits)
            active, chosen = active[going], chosen[going]
            if len(active) == 0:
                break
            saturated = torch.zeros_like(movable[active]).scatter(1, chosen, True)
            movable[active] &= ~saturated
            step = theta * saturated.to(x_adv.dtype).view(-1, 1, *x_adv.shape[2:])
            x_adv[active] = bounds.clip(x_adv[active] + step)
        return context.minimal_result(x_adv, queries, gradients)


def _alpha_beta(context: AttackContext, x: Tensor, form: Form) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, K), and α and β (N, H · W): of what should increase and what should decrease.

    With a target its output should increase, and the sum of all others decrease. Without, the sum
    of all others should increase and the output of the label decrease. Softmax outputs sum to one,
    so there β = −α.
    """
    x = x.detach().requires_grad_()
    classes = context.labels if context.targets is None else context.targets
    with torch.enable_grad():
        logits = context.logits(x)
        if form == "softmax":
            others = _per_pixel(checked_grad(log_odds(logits, classes).sum(), x))
            own = -others
        else:
            output = logits.gather(1, classes[:, None])
            own = _per_pixel(checked_grad(output.sum(), x, retain_graph=True))
            others = _per_pixel(checked_grad(logits.sum(), x)) - own
    alpha, beta = (own, others) if context.targets is not None else (others, own)
    return logits.detach(), alpha, beta


def _per_pixel(grad: Tensor) -> Tensor:
    """The sum over channels (N, H · W)."""
    return grad.sum(dim=1).flatten(1)


def most_salient(
    alpha: Tensor, beta: Tensor, movable: Tensor, pixels: int
) -> tuple[Tensor, Tensor]:
    """The pixels (N, 1 or 2) with the greatest −α · β where α > 0 > β, and whether any exist (N,).

    The best pair is exact, but needs no table of P × P scores. A pixel can be exchanged for a
    better one if two other pixels are no worse in both α and β, since one of these is not in the
    pair. A few dozen pixels per image remain, of which we try every pair.

    Args:
        alpha: (N, P), summed over the chosen pixels.
        beta: (N, P), likewise.
        movable: (N, P) bool, the search domain Γ.
        pixels: 1 or 2.
    """
    alpha = alpha.masked_fill(~movable, -torch.inf)
    minus_beta = (-beta).masked_fill(~movable, -torch.inf)
    if pixels == 1:
        score, chosen = _saliency(alpha, minus_beta).max(dim=1, keepdim=True)
        return chosen, score[:, 0] > -torch.inf
    alpha, order = alpha.sort(dim=1, descending=True, stable=True)
    minus_beta = minus_beta.gather(1, order)
    kept = minus_beta > _second_best_before(minus_beta)
    count = max(2, int(kept.sum(dim=1).max()))
    columns = kept.byte().sort(dim=1, descending=True, stable=True).indices[:, :count]
    alpha, minus_beta, kept, order = (
        values.gather(1, columns) for values in (alpha, minus_beta, kept, order)
    )
    score, pairs = _best_pairs(alpha, minus_beta.masked_fill(~kept, -torch.inf))
    return order.gather(1, pairs), score > -torch.inf


def _saliency(alpha: Tensor, minus_beta: Tensor) -> Tensor:
    """−α · β where α > 0 > β, −∞ elsewhere (Algorithm 3)."""
    return torch.where((alpha > 0) & (minus_beta > 0), alpha * minus_beta, -torch.inf)


def _second_best_before(values: Tensor) -> Tensor:
    """For each column of (N, P), the second greatest of the values before it; −∞ without one."""
    smaller = torch.minimum(values, _shifted(values.cummax(dim=1).values))
    return _shifted(smaller.cummax(dim=1).values)


def _shifted(values: Tensor) -> Tensor:
    """The value of the column before, −∞ in the first one."""
    return functional.pad(values[:, :-1], (1, 0), value=-torch.inf)


def _best_pairs(alpha: Tensor, minus_beta: Tensor) -> tuple[Tensor, Tensor]:
    """The best score (N,) of two different columns of (N, M), and the two (N, 2)."""
    size = alpha.shape[1]
    diagonal = torch.eye(size, dtype=torch.bool, device=alpha.device)
    at_once = max(1, SCORES_AT_ONCE // size**2)
    best = []
    for a, b in zip(alpha.split(at_once), minus_beta.split(at_once), strict=True):
        scores = _saliency(a[:, :, None] + a[:, None], b[:, :, None] + b[:, None])
        best.append(scores.masked_fill(diagonal, -torch.inf).flatten(1).max(dim=1))
    score, index = (torch.cat(values) for values in zip(*best, strict=True))
    return score, torch.stack([index // size, index % size], dim=1)
