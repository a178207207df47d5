"""One perturbation for all images.

Moosavi-Dezfooli, Fawzi, Fawzi and Frossard 2017, Algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.problem import posed
from armsrace.attacks.randomness import default_generator
from armsrace.attacks.universal_search import METHODS, Method, Search
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
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """All images under one perturbation that was made for them together, clipped to the box.

    The arguments are those of `universal_perturbation`. As the perturbation belongs to the whole
    batch, so does each result. Raises ValueError or TypeError naming the argument and the rule it
    breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.universal(model, digits.images, digits.labels, epsilon=0.3)
    >>> (found.images - digits.images).abs().max() <= 0.3
    tensor(True)
    """
    _check(epsilon, norm, method, rate, passes, batch_size)
    with posed(model, images, labels, None, bounds) as problem:
        search = Search(problem, norm, epsilon, default_generator(generator))
        best = search.run(method, rate, passes, batch_size)
        return problem.finish(search.under(best), search.queries, search.gradients)


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
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One perturbation (1, C, H, W), in pixel units, that takes most images from their classes.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`; what they teach should hold for others.
        labels: (N,) int64, the classes to leave: the model's own predictions give the paper's
            fooling rate, the true classes an error.
        epsilon: the budget ξ in pixel units of `norm`.
        norm: "linf" or "l2".
        method: "deepfool", as in the paper: what DeepFool needs to turn the images that withstand
            is added, then projected onto the ball. "ascent" climbs a smooth count of the turned
            images, the mean of σ(margin / s), in steps that shrink to nothing; s is a third of the
            mean margin at first. It fools more in less time at most budgets (Shafahi et al. 2020
            do the like with a clipped cross-entropy).
        rate: stop once this share of the images is misclassified, the paper's 1 − δ.
        passes: over all images, at most; the best of the perturbations after each is returned.
        batch_size: images that share a step. With 1 it is the paper's algorithm; a batch adds the
            mean of its perturbations, as long as they are on average, in a tenth of the time.
        bounds: the box; images are clipped to it under the perturbation, which the paper omits.
        generator: where the order of the images comes from; a new one seeded 0 by default.

    DeepFool takes L2 steps whatever `norm` is, as in the paper; its L∞ steps would fool fewer.
    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> from armsrace.attacks.universal import universal_perturbation
    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> universal_perturbation(model, digits.images, digits.labels, epsilon=0.3).shape
    torch.Size([1, 1, 28, 28])
    """
    _check(epsilon, norm, method, rate, passes, batch_size)
    with posed(model, images, labels, None, bounds) as problem:
        search = Search(problem, norm, epsilon, default_generator(generator))
        return search.run(method, rate, passes, batch_size)


def _check(
    epsilon: float, norm: Norm, method: Method, rate: float, passes: int, batch_size: int
) -> None:
    check_at_least("epsilon", epsilon, 0)
    check_choice("norm", norm, ("linf", "l2"))
    check_choice("method", method, METHODS)
    check_at_least("rate", rate, 0)
    check_count("passes", passes)
    check_count("batch_size", batch_size)
