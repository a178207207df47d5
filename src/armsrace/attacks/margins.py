"""Losses of one image each, that an untargeted attack climbs and a targeted one descends."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, K), classes (N,)) -> (N,), greater where the class is less likely."""


def check_loss(loss: Loss) -> None:
    """Raise unless loss is a function, where other libraries take a name."""
    if not callable(loss):
        raise TypeError(f"loss must be a function such as those of margins, got {loss!r}")


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


def logits_ratio(logits: Tensor, classes: Tensor) -> Tensor:
    """The margin over the gap between the first and the third logit (K >= 3): no scale in it.

    Croce and Hein 2020, §4 (DLR): a network whose logits are all a hundred times greater
    has the same loss, and no gradient that has vanished.
    """
    _check_count(logits, 3)
    top = logits.topk(3, dim=1).values
    return margin(logits, classes) / (top[:, 0] - top[:, 2]).clamp_min(_least(logits))


def targeted_logits_ratio(logits: Tensor, classes: Tensor) -> Tensor:
    """As `logits_ratio`, for a class that is wanted (K >= 4): a target in third place still rises.

    Croce and Hein 2020, §4, targeted DLR, with the best other class in place of the true one.
    """
    _check_count(logits, 4)
    top = logits.topk(4, dim=1).values
    gap = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return margin(logits, classes) / gap.clamp_min(_least(logits))


def _check_count(logits: Tensor, least: int) -> None:
    if logits.shape[1] < least:
        raise ValueError(f"loss needs at least {least} classes, got {logits.shape[1]}")


def _least(logits: Tensor) -> float:
    return torch.finfo(logits.dtype).eps ** 0.75
