"""Did the attack fail, or the defense hold? Signs that an attack's optimization went wrong.

Pintor et al. 2022, "Indicators of attack failure: debugging and improving optimization of
adversarial examples".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.contracts import (
    UNIT,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.losses import Loss, check_loss, margin
from armsrace.norms import BUDGETED, project, steepest_direction
from armsrace.randomness import default_generator, uniform

LAST = 10
FALL = 0.05
"""An attack is not finished if its last 10 steps made 5 % of its progress, as in the authors'
code."""


@dataclass(frozen=True)
class FailureIndicators:
    """Each a fraction of the n images, but for `unstable_predictions`; 0 is healthy.

    Args:
        unavailable_gradients: the gradient at the clean image is exactly zero.
        unstable_predictions: the mean change of the loss under small noise, relative to the loss,
            at most 1.
        silent_success: the last image is not adversarial, but one on the way was.
        incomplete_optimization: the loss still improved in the last steps.
        transfer_failure: adversarial for the model that was differentiated, not for the defense.
        unconstrained_failure: not adversarial although the attack may change every pixel at will.
        success: no indicator: the fraction of images that are adversarial for the defense.
        n: images.
    """

    unavailable_gradients: float
    unstable_predictions: float
    silent_success: float
    incomplete_optimization: float
    transfer_failure: float
    unconstrained_failure: float
    success: float
    n: int

    def __str__(self) -> str:
        return "\n".join(
            f"{part.name.replace('_', ' ')}: {getattr(self, part.name):.2f}"
            for part in fields(self)[:-1]
        )


def failure_indicators(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    is_adversarial: Callable[[Tensor, Tensor], Tensor] | None = None,
    norm: Norm = "linf",
    steps: int = 40,
    step_size: float | None = None,
    loss: Loss = margin,
    noise: float = 8 / 255,
    draws: int = 20,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> FailureIndicators:
    """Run PGD from the clean images, and compute six indicators of its failure.

    Args:
        model: images to logits (N, K), which is differentiated: the defense, or what an attacker
            puts in its place.
        images: (N, C, H, W), pixels inside `bounds`, which the defense classifies correctly.
        labels: (N,) int64, the true classes.
        epsilon: the budget of `norm`, in pixel units.
        is_adversarial: images and labels to (N,) bool, what the defense says; by default the
            model's own answer, and then no transfer can fail.
        norm: "linf", "l2" or "l1".
        steps: of PGD; twice as many for the attack without a budget.
        step_size: in pixel units; 2.5 · epsilon / steps by default.
        loss: which the attack maximizes, per image.
        noise: the side of the cube from which small noise is drawn, in pixel units.
        draws: of the noise, per image; the sum is clipped to the bounds.
        bounds: the box of valid pixels.
        generator: of the noise; a new one seeded 0 by default.

    Returns:
        The indicators.

    Differences from the paper:
        * Fractions of images, where the authors' code has one answer per attack for unavailable
          gradients and one per image elsewhere.
        * The attack without a budget has the whole box as its budget.
        * The loss is the margin of the logits. Cross-entropy is near 0 on clean images, so that any
          relative change of it is large.

    Cost:
        3 · steps forward and backward passes, and `draws` forward passes.

    References:
        Pintor et al. 2022, "Indicators of attack failure", §3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(20)
        >>> found = evaluation.failure_indicators(
        ...     model, digits.images, digits.labels, epsilon=0.2, draws=2)
        >>> found.unavailable_gradients, found.silent_success, found.unconstrained_failure
        (0.0, 0.0, 0.0)
    """
    check_at_least("epsilon", epsilon, 1e-6)
    check_at_least("noise", noise, 0)
    check_choice("norm", norm, BUDGETED)
    check_count("steps", steps, LAST)
    check_count("draws", draws)
    check_loss(loss)
    generator = default_generator(generator)
    width = bounds.width * (images[0].numel() if norm == "l1" else 1)
    width = bounds.width * images[0].numel() ** 0.5 if norm == "l2" else width
    with attack_context(model, images, labels, None, bounds) as context:
        clean_loss, grad = context.loss_and_grad(context.images, loss)
        unavailable = grad.flatten(1).abs().amax(dim=1) == 0
        relative = []
        for _ in range(draws):
            shift = noise * (uniform(context.images, generator) - 0.5)
            shifted = bounds.clip(context.images + shift)
            changed = (context.loss(shifted, loss)[0] - clean_loss).abs()
            relative.append(changed / torch.where(clean_loss == 0, 1.0, clean_loss.abs()))
        unstable = torch.stack(relative).mean().clamp_max(1.0)
        alpha = 2.5 * epsilon / steps if step_size is None else step_size
        x_adv, losses, reached = _path(context, epsilon, norm, steps, alpha, loss)
        own = reached[-1]
        judged = own if is_adversarial is None else is_adversarial(x_adv.to(images.dtype), labels)
        _, _, free = _path(context, width, norm, 2 * steps, 2.5 * width / steps, loss)
    return FailureIndicators(
        unavailable_gradients=_fraction(unavailable),
        unstable_predictions=float(unstable),
        silent_success=_fraction(reached.any(dim=0) & ~own),
        incomplete_optimization=_fraction(incomplete(losses)),
        transfer_failure=_fraction(own & ~judged),
        unconstrained_failure=_fraction(~free.any(dim=0)),
        success=_fraction(judged),
        n=len(images),
    )


def incomplete(losses: Tensor) -> Tensor:
    """(N,) bool: of the losses (T, N) on an attack's way, T > 10, the best rose until the end.

    The best loss so far, scaled to [0, 1], rises by more than .05 in the last ten of T values.
    """
    best = losses.cummax(dim=0).values
    lowest = losses.amin(dim=0)
    span = losses.amax(dim=0) - lowest
    risen = best[-1] - best[-LAST]
    return risen > FALL * span


def _path(
    context: AttackContext, epsilon: float, norm: Norm, steps: int, step_size: float, loss: Loss
) -> tuple[Tensor, Tensor, Tensor]:
    """The last image of PGD, and the losses and successes (steps + 1, N) on its way."""
    x_adv, losses, reached = context.images, [], []
    for _ in range(steps):
        value, grad, success = context.loss_grad_and_success(x_adv, loss)
        losses.append(value)
        reached.append(success)
        x_adv = x_adv + step_size * steepest_direction(grad, norm, x_adv, context.bounds)
        delta = project(x_adv - context.images, norm, epsilon)
        x_adv = context.within(context.images + delta, norm, epsilon)
    value, success = context.loss(x_adv, loss)
    return x_adv, torch.stack([*losses, value]), torch.stack([*reached, success])


def _fraction(which: Tensor) -> float:
    return which.double().mean().item()
