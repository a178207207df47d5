"""The Jacobian-based saliency map attack: few pixels, each changed as far as it goes.

Papernot et al. 2016, §III and Algorithm 2, as restated by Carlini and Wagner 2017, §III-C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.saliency import Form, most_salient, slopes
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_choice,
    check_count,
)


def jsma(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    theta: float = 1.0,
    gamma: float = 0.145,
    form: Form = "softmax",
    pixels: int = 2,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Saturates the most salient pixels, two at a time, until the image is read as its target.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes. None pulls the true class down, by the same map with
            its two slopes exchanged (Wiyatno and Xu 2018), and takes what comes.
        theta: how far a chosen pixel moves, in pixel units, before it is clipped to `bounds`; 1
            takes it to the upper end of the unit box, -1 to the lower.
        gamma: the paper's Υ, the fraction of the H · W pixels that may change.
        form: differentiate the "softmax" (JSMA-F) or, as the paper does, the "logits" (JSMA-Z). For
            the softmax stand its log odds, whose slopes do not vanish where the model is sure.
        pixels: how many are chosen at a time: 2, or 1 for the paper's equation 8.
        bounds: the box of valid pixels.

    Minimal norm, in L0. A pixel moves with all its channels, whose slopes are added, and once; in
    the paper each channel is a feature, and may move again where theta is less than 1. Pixels that
    cannot move by theta are left out from the start. A step costs one pass, and two gradients with
    logits or one with softmax, where each slope follows from the other. Raises ValueError or
    TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.jsma(model, digits.images, digits.labels)
    >>> evaluation.perturbation_sizes(digits.images, found, "l0").max() <= 0.145 * 28 * 28
    tensor(True)
    """
    if not 0 < abs(theta) < torch.inf:
        raise ValueError(f"theta must be finite and not 0, got {theta}")
    check_at_least("gamma", gamma, 0)
    if gamma > 1:
        raise ValueError(f"gamma must be <= 1, got {gamma:g}")
    check_choice("form", form, ("logits", "softmax"))
    check_count("pixels", pixels)
    if pixels > 2:
        raise ValueError(f"pixels must be 1 or 2, got {pixels}")
    with posed(model, images, labels, targets, bounds) as problem:
        return _search(problem, theta, gamma, form, pixels)


def _search(problem: Problem, theta: float, gamma: float, form: Form, pixels: int) -> AttackResult:
    found, bounds = problem.images.clone(), problem.bounds
    movable = (found != (bounds.upper if theta > 0 else bounds.lower)).any(dim=1).flatten(1)
    up, passes = (1 if theta > 0 else -1), (2 if form == "logits" else 1)
    queries, gradients = torch.zeros_like(problem.labels), torch.zeros_like(problem.labels)
    left = torch.arange(len(found), device=found.device)
    # 50 / 784 · 784 is less than 50.
    for _ in range(int(gamma * movable.shape[1] + 1e-6) // pixels):
        part = problem.subset(left)
        logits, alpha, beta = slopes(part, found[left], form)
        queries[left] += 1
        gradients[left] += passes
        chosen, admissible = most_salient(up * alpha, up * beta, movable[left], pixels)
        going = admissible & ~part.fooled(logits)
        left, chosen = left[going], chosen[going]
        if len(left) == 0:
            break
        saturated = torch.zeros_like(movable[left]).scatter(1, chosen, True)
        movable[left] &= ~saturated
        step = theta * saturated.to(found.dtype).view(-1, 1, *found.shape[2:])
        found[left] = bounds.clip(found[left] + step)
    return problem.finish_nearest(found, queries, gradients)
