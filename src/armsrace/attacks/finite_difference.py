"""Projected gradient descent on gradients estimated from queries alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from armsrace.attacks.margins import Loss, cross_entropy
from armsrace.attacks.pgd import pgd
from armsrace.attacks.smoothed import Estimator, smoothed_gradient
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, Norm


def finite_difference(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 20,
    step_size: float | None = None,
    estimator: Estimator = "spsa",
    samples: int = 100,
    spacing: float | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """`pgd` without a random start, up a gradient that is measured, not computed.

    Args:
        model: images to logits (N, K); it need not be differentiable.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`.
        norm: "linf", "l2" or "l1".
        steps: estimated gradients; all are taken.
        step_size: in pixel units; 2.5 · epsilon / steps by default.
        estimator, samples, spacing: how a gradient is estimated, as for `smoothed_gradient`.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept by each step and each probe.
        loss: of one image each.
        generator: where the directions come from; a new one seeded 0 by default.

    A step costs an image one query and two for each of the `samples` directions, or for each of
    its C · H · W pixel values with estimator="coordinate"; no gradient is asked for. Raises
    ValueError or TypeError naming the argument and the rule it breaks. Sources: Uesato et al. 2018,
    Algorithm 1 (SPSA; there with Adam, here with projected steps, so that it differs from PGD in
    the gradient alone); Ilyas et al. 2018 (NES); Schott et al. 2019 (coordinates).

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.finite_difference(model, digits.images, digits.labels, epsilon=0.2, steps=5)
    >>> found.queries[0], found.gradients[0]
    (tensor(1006), tensor(0))
    """
    answers = smoothed_gradient(
        model, estimator=estimator, samples=samples, spacing=spacing, bounds=bounds,
        generator=generator,
    )  # fmt: skip
    result = pgd(
        answers, images, labels, epsilon=epsilon, steps=steps, step_size=step_size, norm=norm,
        random_start=False, targets=targets, bounds=bounds, loss=loss,
    )  # fmt: skip
    queries = result.queries + steps * answers.cost(images)
    return replace(result, queries=queries, gradients=torch.zeros_like(result.gradients))
