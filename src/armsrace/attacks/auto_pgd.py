"""Projected gradient descent that sets its own steps (Croce and Hein 2020, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.halving import climb
from armsrace.attacks.margins import Loss, check_loss, cross_entropy
from armsrace.attacks.pgd import best_of, random_perturbation
from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import default_generator
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


def auto_pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int = 100,
    norm: Norm = "linf",
    random_start: bool = True,
    restarts: int = 1,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """PGD with momentum that halves an image's step where it gains no more, from its best point on.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`.
        steps: gradient steps a restart; all are taken.
        norm: "linf" or "l2".
        random_start: begin at a random point of the ball, not at the image.
        restarts: independent starts; an image keeps its first success, else its greatest loss.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: of one image each; `margins.logits_ratio` and, with targets,
            `margins.targeted_logits_ratio` are the paper's DLR.
        generator: where the starts come from; a new one seeded 0 by default.

    The first step is 2 · epsilon long. There is no step size to choose, hence the name. The best
    iterate is returned: one that fools before one that does not, then the one of greatest loss.
    Where paper and authors' code differ we follow the code: a step is halved if at most, not fewer
    than, three quarters of the steps gained. We leave both in drawing the start uniformly from the
    ball. Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.auto_pgd(model, digits.images, digits.labels, epsilon=0.2, steps=20)
    >>> found.success.all(), found.gradients[0]
    (tensor(True), tensor(21))
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("steps", steps)
    check_count("restarts", restarts)
    check_choice("norm", norm, ("linf", "l2"))
    check_loss(loss)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without a random start, got {restarts}")
    generator = default_generator(generator)
    with posed(model, images, labels, targets, bounds) as problem:

        def run(part: Problem) -> Tensor:
            start = part.images
            if random_start:
                start = bounds.clip(start + random_perturbation(start, norm, epsilon, generator))
            return climb(part, start, epsilon, steps, norm, loss)

        passes = steps + 1
        if restarts == 1:
            return problem.finish(run(problem), queries=passes, gradients=passes)
        best, runs = best_of(problem, run, restarts, loss)
        return problem.finish(best, queries=runs * (passes + 1), gradients=runs * passes)
