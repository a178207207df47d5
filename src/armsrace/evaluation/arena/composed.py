"""Attacks of the arena that are made of attacks of the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import AttackResult, Model, Norm
from armsrace.evaluation.budgets import smallest_epsilon
from armsrace.models import zoo

CLASSES = 10


def aimed(attack: Callable[..., AttackResult]) -> Callable[..., AttackResult]:
    """The attack towards the likeliest wrong class, which "refused" is not; one query more."""

    @wraps(attack)
    def run(model: Model, images: Tensor, labels: Tensor, **settings: Any) -> AttackResult:
        with torch.no_grad():
            logits = model(images)[:, :CLASSES]
        wrong = logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
        found = attack(model, images, labels, targets=wrong, **settings)
        return replace(found, queries=found.queries + 1)

    return run


def least(attack: Callable[..., AttackResult]) -> Callable[..., AttackResult]:
    """The attack at the first of equal steps up to the largest budget at which it succeeds."""

    @wraps(attack)
    def run(
        model: Model, images: Tensor, labels: Tensor, *, largest: float, levels: int,
        **settings: Any,
    ) -> AttackResult:  # fmt: skip
        budgets = [largest * level / levels for level in range(1, levels + 1)]
        tried = partial(attack, **settings)
        return smallest_epsilon(tried, model, images, labels, budgets, bisect=True)

    return run


def transferred(
    model: Model, images: Tensor, labels: Tensor, *, source: str, epsilon: float, norm: Norm,
    steps: int, generator: torch.Generator | None = None,
) -> AttackResult:  # fmt: skip
    """PGD on a network of the zoo, its images tried on the model; arguments as of `attacks.pgd`."""
    found = partial(attacks.pgd, epsilon=epsilon, norm=norm, steps=steps, generator=generator)
    own = zoo.load(source, images.device)
    return attacks.transfer(model, images, labels, source=own, attack=found)
