"""Losses of one image each, that an untargeted attack climbs and a targeted one descends."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, K), classes (N,)) -> (N,), greater where the class is less likely."""


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """−log p(class), in nats."""
    return functional.cross_entropy(logits, classes, reduction="none")


def margin(logits: Tensor, classes: Tensor) -> Tensor:
    """The best other logit minus the class's own: above 0 where another class wins.

    Carlini and Wagner 2017, §V-A, f₆, without the confidence. The own logit is masked with −∞:
    multiplying it by zero, as is often done, lets it win where all logits are negative.
    """
    own = logits.gather(1, classes[:, None])
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return others.amax(dim=1) - own.squeeze(1)


def log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """log (1 − p) / p of the class: p itself is rounded to 1 where the model is confident."""
    own = logits.gather(1, classes[:, None])
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return others.logsumexp(dim=1) - own.squeeze(1)
