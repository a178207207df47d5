"""One perturbation for all images.

Moosavi-Dezfooli, Fawzi, Fawzi and Frossard 2017, Algorithm 1.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.attacks.minimal.deepfool import deepfool
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.losses import margin
from armsrace.norms import distances, project, steepest_direction
from armsrace.randomness import default_generator

Method = Literal["deepfool", "ascent"]
METHODS: tuple[Method, ...] = get_args(Method)


def universal(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    method: Method = "deepfool",
    rate: float = 0.8,
    passes: int = 10,
    batch_size: int = 10,
    candidates: int = 10,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """All images plus one perturbation that was computed for all of them, clipped to the box.

    The perturbation belongs to the whole batch, and so do the results.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the classes to leave.
        epsilon: the budget in pixel units of `norm`.
        norm: as for `universal_perturbation`, like all that follow.
        method: "deepfool" or "ascent".
        rate: the fraction of misclassified images at which the search stops.
        passes: over all images, at most.
        batch_size: images that share a step.
        candidates: of DeepFool, how many of the likeliest classes a step linearizes.
        bounds: the box of valid pixels.
        generator: source of the order of the images; a new one seeded 0 by default.

    References:
        Moosavi-Dezfooli, Fawzi, Fawzi and Frossard 2017, "Universal adversarial perturbations",
        Algorithm 1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.universal(model, digits.images, digits.labels, epsilon=0.3)
        >>> (found.images - digits.images).abs().max() <= 0.3
        tensor(True)
    """
    _check(epsilon, norm, method, rate, passes, batch_size, candidates)
    generator = default_generator(generator)
    with attack_context(model, images, labels, None, bounds, epsilon) as context:
        v, queries, gradients = _algorithm_1(
            context, epsilon, norm, method, rate, passes, batch_size, candidates, generator
        )
        return context.result(context.within(context.images + v, norm), queries, gradients)


def universal_perturbation(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    method: Method = "deepfool",
    rate: float = 0.8,
    passes: int = 10,
    batch_size: int = 10,
    candidates: int = 10,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One perturbation that causes most images to be misclassified.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`; the perturbation should generalize to others.
        labels: (N,) int64, the classes to leave: the model's own predictions give the paper's
            fooling rate, the true classes give an error rate.
        epsilon: the budget ξ in pixel units of `norm`.
        norm: "linf" or "l2".
        method: "deepfool", as in the paper: each step adds the perturbations that DeepFool finds
            for images not yet misclassified, and projects the sum onto the ball. "ascent":
            steepest ascent on a smooth count of misclassified images, the mean of
            σ(margin / s), where s is a third of the mean margin at first; the steps shrink to
            zero. It fools more images in less time at most budgets.
        rate: stop once this fraction of the images is misclassified, the paper's 1 − δ.
        passes: over all images, at most; the best of the perturbations after each is returned.
        batch_size: images that share a step.
        candidates: of DeepFool, how many of the likeliest classes a step linearizes.
        bounds: the box of valid pixels.
        generator: source of the order of the images; a new one seeded 0 by default.

    Returns:
        The perturbation v (1, C, H, W), in pixel units.

    Differences from the paper:
        * A batch shares a step, in the direction of the mean of its perturbations and as long as
          they are on average. It takes a tenth of the time. With batch_size 1 the algorithm is the
          paper's.
        * Images are clipped to the box under the perturbation.
        * The number of passes is limited.

    Cost:
        One forward pass per image and pass, and what DeepFool takes; with "ascent", two forward
        passes and one backward pass.

    References:
        Moosavi-Dezfooli, Fawzi, Fawzi and Frossard 2017, "Universal adversarial perturbations",
        Algorithm 1, whose DeepFool steps are in L2 whatever the norm. Shafahi, Najibi, Xu,
        Dickerson, Davis and Goldstein 2020, "Universal adversarial training" (ascent, on a clipped
        cross-entropy).

    Example:
        >>> from armsrace.attacks.minimal.universal import universal_perturbation
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> universal_perturbation(model, digits.images, digits.labels, epsilon=0.3).shape
        torch.Size([1, 1, 28, 28])
    """
    _check(epsilon, norm, method, rate, passes, batch_size, candidates)
    generator = default_generator(generator)
    with attack_context(model, images, labels, None, bounds) as context:
        v, _, _ = _algorithm_1(
            context, epsilon, norm, method, rate, passes, batch_size, candidates, generator
        )
        return v.to(images.dtype)


def _algorithm_1(
    context: AttackContext, epsilon: float, norm: Norm, method: Method, rate: float, passes: int,
    batch_size: int, candidates: int, generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The best perturbation v (1, C, H, W), and the queries and gradients (N,) it took."""
    x, bounds = context.images, context.bounds
    v = best_v = torch.zeros_like(x[:1])
    margins, is_adversarial = context.loss(bounds.clip(x + v), margin)
    best_rate = is_adversarial.double().mean().item()
    scale = margins.abs().mean() / 3
    queries, gradients = torch.ones_like(context.labels), torch.zeros_like(context.labels)
    steps, step = passes * math.ceil(len(x) / batch_size), 0
    for _ in range(passes):
        order = torch.randperm(len(x), generator=generator, device=generator.device)
        for batch in order.to(x.device).split(batch_size):
            part = context.select(batch)
            if method == "deepfool":
                delta_v, found = _deepfool_step(part, v, candidates)
                queries[batch] += found.queries
                gradients[batch] += found.gradients
            else:
                length = 5 * context.epsilon / steps * (1 - step / steps)
                delta_v = length * _ascent_direction(part, v, norm, scale)
                queries[batch] += 1
                gradients[batch] += 1
            v = project(v + delta_v, norm, context.epsilon)
            step += 1
        _, is_adversarial = context.loss(bounds.clip(x + v), margin)
        queries += 1
        fooling_rate = is_adversarial.double().mean().item()
        if fooling_rate > best_rate:
            best_v, best_rate = v, fooling_rate
        if best_rate >= rate:
            break
    return best_v, queries, gradients


def _deepfool_step(
    context: AttackContext, v: Tensor, candidates: int
) -> tuple[Tensor, AttackResult]:
    """Δv (1, C, H, W), the mean direction of DeepFool's steps at their mean length."""
    x = context.bounds.clip(context.images + v)
    found = deepfool(
        context.model, x, context.labels, norm="l2", candidates=candidates, bounds=context.bounds
    )
    deltas = found.images - x
    lengths = distances(deltas, "l2")
    if not lengths.any():
        return torch.zeros_like(v), found
    total = deltas.sum(dim=0, keepdim=True)
    mean_length = lengths.sum() / (lengths > 0).sum()
    smallest = torch.finfo(total.dtype).tiny
    return total * (mean_length / distances(total, "l2").clamp_min(smallest)), found


def _ascent_direction(context: AttackContext, v: Tensor, norm: Norm, scale: Tensor) -> Tensor:
    """The steepest direction (1, C, H, W) of the mean of σ(margin / scale)."""
    x = context.bounds.clip(context.images + v)
    _, grad = context.loss_and_grad(x, lambda *given: torch.sigmoid(margin(*given) / scale))
    return steepest_direction(grad.mean(dim=0, keepdim=True), norm, x[:1], context.bounds)


def _check(
    epsilon: float, norm: Norm, method: Method, rate: float, passes: int, batch_size: int,
    candidates: int,
) -> None:  # fmt: skip
    """Check the options of both functions."""
    check_at_least("epsilon", epsilon, 0)
    check_choice("norm", norm, ("linf", "l2"))
    check_choice("method", method, METHODS)
    check_at_least("rate", rate, 0)
    check_count("passes", passes)
    check_count("batch_size", batch_size)
    check_count("candidates", candidates, 2)
