"""Distal adversarials: images far from all data that a model is nevertheless sure of.

Schott, Rauber, Bethge and Brendel 2019, §5 and Figure 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks.margins import Loss, cross_entropy
from armsrace.attacks.problem import Problem, gradient_of, posed
from armsrace.contracts import UNIT, Bounds, Model, check_at_least, check_count


@dataclass(frozen=True)
class Distal:
    """Where the climb from each start ended.

    images: (N, C, H, W). confidences: (N,), in the target. reached: (N,) bool, the wanted
    confidence. gradients: (N,) int64, steps taken.
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
    step_size: float = 1.0,
    momentum: float = 0.95,
    probabilities: Callable[[Tensor], Tensor] | None = None,
    loss: Loss = cross_entropy,
    bounds: Bounds = UNIT,
) -> Distal:
    """From noise, up the gradient of a class until the model is sure of it.

    Args:
        model: images to logits (N, K).
        starts: (N, C, H, W), such as uniform noise, pixels inside `bounds`.
        targets: (N,) int64 classes.
        confidence: in (0, 1), at which an image is done.
        steps: of gradient descent with momentum at most; the paper's are 10,000.
        step_size: in pixel units for a loss in nats.
        momentum: in [0, 1).
        probabilities: logits (N, K) to confidences (N, K); by default the softmax. For analysis by
            synthesis `defenses.tempered`.
        loss: what falls, of the target. Cross-entropy is flat once the softmax is sure; where
            `probabilities` ask for more, as ABS's do, use `unlikelihood`.
        bounds: the box of valid pixels, kept by each step.

    Nothing ties an image to its start: this is no attack on an image, but shows what a model takes
    for a digit. Raises ValueError or TypeError naming the argument and the rule it breaks.
    """
    for name, value, least in (("confidence", confidence, 0), ("momentum", momentum, 0)):
        check_at_least(name, value, least)
        if value >= 1:
            raise ValueError(f"{name} must be < 1, got {value:g}")
    check_count("steps", steps)
    check_at_least("step_size", step_size, 1e-9)
    sure = probabilities or _softmax
    with posed(model, starts, targets, targets, bounds) as problem, torch.no_grad():
        images, spent = problem.images.clone(), torch.zeros_like(targets)
        speed = torch.zeros_like(images)
        left = torch.arange(len(images), device=images.device)
        for _ in range(steps):
            climb, confident = _climbed(problem.subset(left), images[left], loss, sure)
            unsure = confident < confidence
            left, climb = left[unsure], climb[unsure]
            if len(left) == 0:
                break
            spent[left] += 1
            speed[left] = momentum * speed[left] + climb
            images[left] = bounds.clip(images[left] + step_size * speed[left])
        reached = _of(sure(problem.logits(images)), problem.targets)
        return Distal(images, reached, reached >= confidence, spent)


def unlikelihood(logits: Tensor, classes: Tensor) -> Tensor:
    """Minus the class's own logit (N,), for models whose logits are log-likelihoods."""
    return -logits.gather(1, classes[:, None]).squeeze(1)


def _climbed(
    problem: Problem, images: Tensor, loss: Loss, sure: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The direction up (N, C, H, W), and the confidence in the target (N,), in one pass."""
    variable = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = problem.logits(variable)
        climb = gradient_of(problem.adversarial_loss(logits, loss).sum(), variable)
    return climb, _of(sure(logits.detach()), problem.targets)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def _of(confidences: Tensor, classes: Tensor | None) -> Tensor:
    assert classes is not None, "posed with targets"
    return confidences.gather(1, classes[:, None]).squeeze(1)
