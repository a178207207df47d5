"""An honest attack, and ways of breaking it that each leave every other property whole."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.attacks.base import attack_context
from armsrace.contracts import UNIT, AttackResult, Bounds, Model


def honest(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, bounds: Bounds = UNIT
) -> AttackResult:
    """FGSM without a fault: no property objects."""
    with attack_context(model, images, labels, None, bounds) as context:
        _, gradient = context.loss_and_grad(context.images)
        return context.result(bounds.clip(context.images + epsilon * gradient.sign()), 1, 1)


def idle(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=0.0)


def boastful(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    result = honest(model, images, labels, epsilon=0.0)
    return replace(result, success=torch.ones_like(result.success))


def spendthrift(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=1.01 * epsilon)


def unclipped(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    with attack_context(model, images, labels, None, UNIT) as context:
        _, gradient = context.loss_and_grad(context.images)
        return context.result(context.images + epsilon * gradient.sign(), 1, 1)


def in_place(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    result = honest(model, images, labels, epsilon=epsilon)
    images.data.copy_(result.images)
    return result


def aliasing(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return replace(honest(model, images, labels, epsilon=epsilon), images=images.detach())


def sociable(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    with attack_context(model, images, labels, None, UNIT) as context:
        _, gradient = context.loss_and_grad(context.images)
        step = epsilon * gradient / gradient.abs().max()
        return context.result(UNIT.clip(context.images + step), 1, 1)


def chancy(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    start = UNIT.clip(images.detach() + epsilon * (torch.rand_like(images) - 0.5))
    return honest(model, start, labels, epsilon=epsilon / 2)


def deaf(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, generator: torch.Generator
) -> AttackResult:
    return honest(model, images, labels, epsilon=epsilon)


def sleepy(model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model.eval(), images, labels, epsilon=epsilon)


def littering(model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    with attack_context(model, images, labels, None, UNIT) as context:
        functional.cross_entropy(context.logits(context.images), labels).backward()
    return honest(model, images, labels, epsilon=epsilon)


def training(model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    modes = {part: part.training for part in model.modules()}
    model.train()(images)
    for part, mode in modes.items():
        part.training = mode
    return honest(model, images, labels, epsilon=epsilon)


def miscounting(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    result = honest(model, images, labels, epsilon=epsilon)
    return replace(result, queries=result.gradients)


def untargeted(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, targets: Tensor
) -> AttackResult:
    return honest(model, images, labels, epsilon=epsilon)


def boxed_in(
    model: Model, images: Tensor, labels: Tensor, *, epsilon: float, bounds: Bounds
) -> AttackResult:
    result = honest(model, images, labels, epsilon=epsilon, bounds=bounds)
    return replace(result, images=UNIT.clip(result.images))


def picky(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    own = isinstance(model, nn.Module)
    return honest(model, images, labels, epsilon=epsilon if own else 0.0)


def downhill(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=-epsilon)


def restless(model: Model, images: Tensor, labels: Tensor, *, epsilon: float) -> AttackResult:
    return honest(model, images, labels, epsilon=epsilon + 0.001)
