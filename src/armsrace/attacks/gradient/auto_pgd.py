"""Auto-PGD: projected gradient descent without a step size (Croce and Hein 2020, Algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.attacks.gradient.pgd import best_of_restarts, random_perturbation
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_choice,
    check_count,
    check_epsilon,
)
from armsrace.losses import Loss, check_loss, cross_entropy
from armsrace.norms import batch_view, per_row, project, steepest_direction
from armsrace.randomness import default_generator

ALPHA = 0.75
"""α: the weight of a step beside that of the step before it."""
RHO = 0.75
"""ρ: the fraction of the steps since the last checkpoint that must increase the loss."""


def auto_pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    steps: int = 100,
    norm: Norm = "linf",
    random_start: bool = True,
    restarts: int = 1,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """PGD with momentum that halves the step of an image where the loss no longer increases.

    There is no step size to choose. The first step is 2 · epsilon long; after a halving the search
    continues from the best point so far.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`; a tensor (N,) gives each image its own.
        steps: gradient steps per restart; all are taken.
        norm: "linf" or "l2".
        random_start: begin at a random point of the ball, not at the image.
        restarts: independent starts; an image keeps its first success, else its greatest loss.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.
        loss: f, per image; `losses.dlr` and, with targets, `losses.targeted_dlr` are the paper's.
        generator: source of the random starts; a new one seeded 0 by default.

    Returns:
        The best iterates: an adversarial one before one that is not, then the greatest loss.

    Raises:
        ValueError: also for restarts without a random start, which would all be the same.

    Differences from the paper:
        * As in the authors' code, a step is halved where at most, not fewer than, three quarters of
          the steps increased the loss.
        * The start is drawn uniformly from the ball.

    Cost:
        One forward and one backward pass per step and per start, and one forward pass per restart.
        Later restarts run only on images that are not yet adversarial.

    References:
        Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
        diverse parameter-free attacks", §3 and Algorithm 1; §4 (DLR).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.auto_pgd(model, digits.images, digits.labels, epsilon=0.2, steps=20)
        >>> found.success.all(), found.gradients[0]
        (tensor(True), tensor(21))
    """
    check_epsilon(epsilon)
    check_count("steps", steps)
    check_count("restarts", restarts)
    check_choice("norm", norm, ("linf", "l2"))
    check_loss(loss)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without a random start, got {restarts}")
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:

        def run(part: AttackContext) -> Tensor:
            x_0 = part.images
            if random_start:
                delta = random_perturbation(x_0, norm, part.epsilon, generator)
                x_0 = part.within(x_0 + delta, norm, part.epsilon)
            return algorithm_1(part, x_0, part.epsilon, steps, norm, loss)

        passes = steps + 1
        if restarts == 1:
            return context.result(run(context), queries=passes, gradients=passes)
        x_adv, runs = best_of_restarts(context, run, restarts, loss)
        return context.result(x_adv, queries=runs * (passes + 1), gradients=runs * passes)


def algorithm_1(
    context: AttackContext, x_0: Tensor, epsilon: float | Tensor, steps: int, norm: Norm,
    loss: Loss,
) -> Tensor:  # fmt: skip
    """The best iterate (N, C, H, W) of `steps` steps from x_0; η is the step size (N,)."""
    clean, bounds = context.images, context.bounds

    def projected(x: Tensor) -> Tensor:
        """P_S, onto the intersection of ball and box."""
        return context.within(clean + project(x - clean, norm, epsilon), norm, epsilon)

    f, grad, is_adversarial = context.loss_grad_and_success(x_0, loss)
    x, x_previous, eta = x_0, x_0, torch.zeros_like(f) + 2 * per_row(epsilon)
    x_max, f_max, grad_max = x_0, f, grad
    # What is returned. It may differ from x_max, since an adversarial point is preferred.
    best_adv, best_f, best_is_adversarial = x_0, f, is_adversarial
    w = checkpoints(steps)
    increases, last_checkpoint, f_max_then = torch.zeros_like(context.labels), 0, f
    # "The step was halved at the last checkpoint": before the first one, as the authors have it.
    halved = torch.ones_like(is_adversarial)
    for k in range(1, steps + 1):
        alpha = 1.0 if k == 1 else ALPHA
        z = projected(x + batch_view(eta) * steepest_direction(grad, norm, x, bounds))
        x_next = projected(x + ((z - x) * alpha + (x - x_previous) * (1 - alpha)))
        x, x_previous, f_previous = x_next, x, f
        f, grad, is_adversarial = context.loss_grad_and_success(x, loss)
        increases += f > f_previous

        increased = f > f_max
        x_max = torch.where(batch_view(increased), x, x_max)
        grad_max = torch.where(batch_view(increased), grad, grad_max)
        f_max = torch.where(increased, f, f_max)
        better = (is_adversarial & ~best_is_adversarial) | (
            (is_adversarial == best_is_adversarial) & (f > best_f)
        )
        best_adv = torch.where(batch_view(better), x, best_adv)
        best_f = torch.where(better, f, best_f)
        best_is_adversarial = best_is_adversarial | is_adversarial

        if k in w:
            condition_1 = increases <= RHO * (k - last_checkpoint)
            condition_2 = ~halved & (f_max_then >= f_max)
            halved = condition_1 | condition_2
            eta = torch.where(halved, eta / 2, eta)
            x = torch.where(batch_view(halved), x_max, x)
            grad = torch.where(batch_view(halved), grad_max, grad)
            increases, last_checkpoint, f_max_then = torch.zeros_like(increases), k, f_max
    return best_adv


def checkpoints(steps: int) -> set[int]:
    """W: the steps k after which progress is checked (§3).

    The first interval is 22 % of the steps; each next one is shorter by 3 %, down to 6 %.
    """
    interval, minimum, decrease = (max(int(p * steps), 1) for p in (0.22, 0.06, 0.03))
    w, k = set(), 0
    while (k := k + interval) <= steps:
        w.add(k)
        interval = max(interval - decrease, minimum)
    return w
