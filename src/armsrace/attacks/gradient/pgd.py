"""Projected gradient descent (Madry et al. 2018, §2.1) in L∞, L2 and L1."""

from __future__ import annotations

from collections.abc import Callable

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
    check_count,
    check_epsilon,
)
from armsrace.losses import Loss, check_loss, cross_entropy
from armsrace.norms import (
    BUDGETED,
    batch_view,
    distances,
    per_row,
    project,
    steepest_direction,
)
from armsrace.randomness import default_generator, normal, signs, uniform


def pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
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
    """Gradient steps, each projected back onto the ball of radius epsilon and the box.

    xₙ₊₁ = Π(xₙ + α · sign(∇ₓ J(xₙ, y))) in L∞, from a random point of the ball. Π projects onto the
    ball and then clips to the box.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`; a tensor (N,) gives each image its own.
        steps: gradient steps per restart; all are taken.
        step_size: α, in pixel units; 2.5 · epsilon / steps by default, as in the paper's attacks of
            100 steps.
        norm: "linf", "l2" or "l1".
        random_start: begin at a random point of the ball, not at the image.
        restarts: independent starts; an image keeps its first success, or else the result with the
            largest loss.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: J, per image; `losses.margin` gives the authors' "CW" variant.
        generator: source of the random starts; a new one seeded 0 by default.

    Returns:
        Each image's last iterate, from its best restart.

    Raises:
        ValueError: also for restarts without a random start, which would all be the same.

    Differences from the paper:
        * In L2 and L1 the result is in the ball and in the box, but not always the nearest such
          point: the projection onto the ball comes first, the clipping second.
        * There are steps in L1 (`norms.steepest_direction`).

    Cost:
        One forward and one backward pass per step, and one forward pass per restart. Later
        restarts run only on images that are not yet adversarial.

    References:
        Madry, Makelov, Schmidt, Tsipras and Vladu 2018, "Towards deep learning models resistant to
        adversarial attacks", §2.1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> images, labels = digits.images, digits.labels
        >>> found = attacks.pgd(model, images, labels, epsilon=0.2, steps=10, restarts=2)
        >>> found.success.all(), (found.images - images).abs().max()
        (tensor(True), tensor(0.2000))
    """
    check_epsilon(epsilon)
    check_count("steps", steps)
    check_count("restarts", restarts)
    check_choice("norm", norm, BUDGETED)
    check_loss(loss)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without a random start, got {restarts}")
    if step_size is not None:
        check_at_least("step_size", step_size, 0)
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:

        def run(part: AttackContext) -> Tensor:
            x_0, alpha = part.images, step_size
            if alpha is None:
                alpha = 2.5 * part.epsilon / steps
            if random_start:
                delta = random_perturbation(x_0, norm, part.epsilon, generator)
                x_0 = part.within(x_0 + delta, norm)
            return ascend(part, x_0, steps, alpha, norm, loss)

        if restarts == 1:
            return context.result(run(context), queries=steps, gradients=steps)
        x_adv, runs = best_of_restarts(context, run, restarts, loss)
        return context.result(x_adv, queries=runs * (steps + 1), gradients=runs * steps)


def ascend(
    context: AttackContext, x_0: Tensor, steps: int, step_size: float | Tensor, norm: Norm,
    loss: Loss,
) -> Tensor:  # fmt: skip
    """The last iterate (N, C, H, W) of projected gradient ascent from x_0, within the budget."""
    x_adv = x_0
    for _ in range(steps):
        _, grad = context.loss_and_grad(x_adv, loss)
        x_adv = x_adv + step_size * steepest_direction(grad, norm, x_adv, context.bounds)
        delta = project(x_adv - context.images, norm, context.epsilon)
        x_adv = context.within(context.images + delta, norm)
    return x_adv


def random_perturbation(
    images: Tensor, norm: Norm, epsilon: float | Tensor, generator: torch.Generator
) -> Tensor:
    """Points (N, C, H, W) drawn uniformly from the ball of radius epsilon, one per image."""
    if norm == "linf":
        return epsilon * (2 * uniform(images, generator) - 1)
    if norm == "l2":
        direction = normal(images, generator)
    else:
        # Exponential magnitudes with random signs are uniform on the L1 sphere once normalized.
        direction = -(1 - uniform(images, generator)).log()
        direction = direction * signs(images, generator)
    dimensions = images[0].numel()
    radius = per_row(epsilon) * uniform(images, generator).flatten(1)[:, 0] ** (1 / dimensions)
    return direction * batch_view(radius / distances(direction, norm).clamp_min(1e-12))


def best_of_restarts(
    context: AttackContext, run: Callable[[AttackContext], Tensor], restarts: int, loss: Loss
) -> tuple[Tensor, Tensor]:
    """The best images (N, C, H, W) of several runs, and how many runs each image needed (N,)."""
    best_adv = context.images.clone()
    best_loss = torch.full_like(best_adv[:, 0, 0, 0], -torch.inf)
    runs = torch.zeros_like(context.labels)
    active = torch.arange(len(best_adv), device=best_adv.device)
    for _ in range(restarts):
        part = context.select(active)
        x_adv = run(part)
        losses, is_adversarial = part.loss(x_adv, loss)
        runs[active] += 1
        better = is_adversarial | (losses > best_loss[active])
        best_adv[active[better]], best_loss[active[better]] = x_adv[better], losses[better]
        active = active[~is_adversarial]
        if len(active) == 0:
            break
    return best_adv, runs
