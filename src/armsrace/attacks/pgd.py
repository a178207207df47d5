"""Projected gradient descent (Madry et al. 2018, §2.1) in L∞, L2 and L1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.margins import Loss, check_loss, cross_entropy
from armsrace.attacks.norms import BUDGETED, column, distances, project, steepest
from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import default_generator, normal, signs, uniform
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


def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step_size: float | None = None,
    norm: Norm = "linf",
    random_start: bool = True,
    restarts: int = 1,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Steps up the loss, each projected back onto the ball of radius epsilon and the box.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`.
        steps: gradient steps a restart; all are taken.
        step_size: in pixel units; 2.5 · epsilon / steps by default, the authors' rule of thumb.
        norm: "linf", "l2" or "l1".
        random_start: begin at a random point of the ball, not at the image.
        restarts: independent starts; an image keeps its first success, else its greatest loss.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: of one image each; `margins.margin` gives the authors' "CW" variant.
        generator: where the starts come from; a new one seeded 0 by default.

    Later restarts run on the images not yet fooled alone. Raises ValueError or TypeError naming
    the argument and the rule it breaks; restarts without a random start are refused, as they
    would all be the same.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.pgd(model, digits.images, digits.labels, epsilon=0.2, steps=10, restarts=2)
    >>> found.success.all(), (found.images - digits.images).abs().max()
    (tensor(True), tensor(0.2000))
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("steps", steps)
    check_count("restarts", restarts)
    check_choice("norm", norm, BUDGETED)
    check_loss(loss)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without a random start, got {restarts}")
    step_size = 2.5 * epsilon / steps if step_size is None else step_size
    check_at_least("step_size", step_size, 0)
    generator = default_generator(generator)
    with posed(model, images, labels, targets, bounds) as problem:

        def climb(part: Problem) -> Tensor:
            start = part.images
            if random_start:
                start = bounds.clip(start + random_perturbation(start, norm, epsilon, generator))
            return ascend(part, start, epsilon, steps, step_size, norm, loss)

        if restarts == 1:
            return problem.finish(climb(problem), queries=steps, gradients=steps)
        best, runs = best_of(problem, climb, restarts, loss)
        return problem.finish(best, queries=runs * (steps + 1), gradients=runs * steps)


def ascend(
    problem: Problem, start: Tensor, epsilon: float, steps: int, step_size: float, norm: Norm,
    loss: Loss,
) -> Tensor:  # fmt: skip
    """The last iterate (N, C, H, W) of `steps` projected steps from start."""
    current = start
    for _ in range(steps):
        gradient, _ = problem.ascent(current, loss)
        moved = current + step_size * steepest(gradient, norm, current, problem.bounds)
        perturbation = project(moved - problem.images, norm, epsilon)
        current = problem.bounds.clip(problem.images + perturbation)
    return current


def best_of(
    problem: Problem, climb: Callable[[Problem], Tensor], restarts: int, loss: Loss
) -> tuple[Tensor, Tensor]:
    """The best of several climbs, image by image, and how many each needed (N,)."""
    best = problem.images.clone()
    scores = torch.full_like(best[:, 0, 0, 0], -torch.inf)
    runs = torch.zeros_like(problem.labels)
    left = torch.arange(len(best), device=best.device)
    for _ in range(restarts):
        part = problem.subset(left)
        candidates = climb(part)
        reached, fooled = part.loss(candidates, loss)
        better = fooled | (reached > scores[left])
        best[left[better]], scores[left[better]] = candidates[better], reached[better]
        runs[left] += 1
        left = left[~fooled]
        if len(left) == 0:
            break
    return best, runs


def random_perturbation(
    images: Tensor, norm: Norm, epsilon: float, generator: torch.Generator
) -> Tensor:
    """A point drawn uniformly from the ball of radius epsilon, one an image (N, C, H, W)."""
    if norm == "linf":
        return epsilon * (2 * uniform(images, generator) - 1)
    if norm == "l2":
        direction = normal(images, generator)
    else:
        # Exponential sizes with random signs are uniform on the L1 sphere once normalised.
        direction = -(1 - uniform(images, generator)).log()
        direction = direction * signs(images, generator)
    dimensions = images[0].numel()
    radius = epsilon * uniform(images, generator).flatten(1)[:, 0] ** (1 / dimensions)
    return direction * column(radius / distances(direction, norm).clamp_min(1e-12))
