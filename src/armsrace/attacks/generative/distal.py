"""Distal adversarials: images far from all data, of which a model is nevertheless confident.

Schott, Rauber, Bethge and Brendel 2019, §5 and Figure 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks.base import attack_context, checked_grad
from armsrace.contracts import UNIT, Bounds, Model, check_at_least, check_count
from armsrace.losses import Loss, cross_entropy


@dataclass(frozen=True)
class Distal:
    """Where the ascent from each start ended.

    images: (N, C, H, W). confidences: (N,), in the target. reached: (N,) bool, whether that is the
    wanted confidence. gradients: (N,) int64, steps taken.
    """

    images: Tensor
    confidences: Tensor
    reached: Tensor
    gradients: Tensor


def distal(
    model: Model,
    starts: Tensor,
    targets: Tensor,
    *,
    confidence: float = 0.9,
    steps: int = 1000,
    step_size: float | None = None,
    momentum: float = 0.95,
    probabilities: Callable[[Tensor], Tensor] | None = None,
    loss: Loss = cross_entropy,
    bounds: Bounds = UNIT,
) -> Distal:
    """From noise, along the gradient of a class until the model is confident of it.

    Nothing ties an image to its start. This is no attack on an image; it shows what a model takes
    for a digit.

    Args:
        model: images to logits (N, K).
        starts: (N, C, H, W), such as uniform noise, pixels inside `bounds`.
        targets: (N,) int64 classes.
        confidence: in (0, 1), at which an image is done.
        steps: gradient steps with momentum, at most.
        step_size: in pixel units for a loss in nats; by default 1 in a box of width 1, and in
            another the square of its width, which is the same step.
        momentum: in [0, 1).
        probabilities: logits (N, K) to confidences (N, K); by default the softmax. For analysis by
            synthesis its softmax with a floor, `floored_softmax`.
        loss: descended for the target. Cross-entropy is flat once the softmax is confident; where
            `probabilities` ask for more, as those of analysis by synthesis do, use `unlikelihood`.
        bounds: the box of valid pixels, kept by each step.

    Returns:
        A `Distal`: the last image from each start, and its confidence.

    Differences from the paper:
        * The paper's number of steps is 10,000.

    Cost:
        One forward and one backward pass per step, for images not yet confident, and a last
        forward pass.

    References:
        Schott, Rauber, Bethge and Brendel 2019, "Towards the first adversarially robust neural
        network model on MNIST", §5 and Figure 3.
    """
    for name, value in (("confidence", confidence), ("momentum", momentum)):
        check_at_least(name, value, 0)
        if value >= 1:
            raise ValueError(f"{name} must be < 1, got {value:g}")
    check_count("steps", steps)
    step_size = bounds.width**2 if step_size is None else step_size
    check_at_least("step_size", step_size, 1e-9)

    def confidences(logits: Tensor, classes: Tensor) -> Tensor:
        every = logits.softmax(dim=1) if probabilities is None else probabilities(logits)
        return every.gather(1, classes[:, None]).squeeze(1)

    with attack_context(model, starts, targets, targets, bounds) as context, torch.no_grad():
        images, gradients = context.images.clone(), torch.zeros_like(targets)
        velocity = torch.zeros_like(images)
        active = torch.arange(len(images), device=images.device)
        for _ in range(steps):
            part = context.select(active)
            with torch.enable_grad():
                x = images[active].requires_grad_()
                logits = part.logits(x)
                grad = checked_grad(part.adversarial_loss(logits, loss).sum(), x)
            unsure = confidences(logits.detach(), targets[active]) < confidence
            active, grad = active[unsure], grad[unsure]
            if len(active) == 0:
                break
            gradients[active] += 1
            velocity[active] = momentum * velocity[active] + grad
            images[active] = bounds.clip(images[active] + step_size * velocity[active])
        last = confidences(context.logits(images), targets)
        return Distal(images.to(starts.dtype), last, last >= confidence, gradients)


def unlikelihood(logits: Tensor, classes: Tensor) -> Tensor:
    """Minus the class's own logit (N,), for models whose logits are log-likelihoods."""
    return -logits.gather(1, classes[:, None]).squeeze(1)
