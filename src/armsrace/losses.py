"""Losses per image. An untargeted attack increases them, a targeted attack decreases them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.deprecation import renamed

__all__ = [
    "Loss", "check_loss", "cross_entropy", "dlr", "log_odds", "margin", "targeted_dlr",
]  # fmt: skip

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, K), classes (N,)) -> losses (N,), greater where the class is less likely."""


def check_loss(loss: Loss) -> None:
    """Raise unless loss is a function; other libraries take its name."""
    if not callable(loss):
        raise TypeError(f"loss must be a function such as those of losses, got {loss!r}")


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """−log p(class), in nats."""
    return functional.cross_entropy(logits, classes, reduction="none")


def margin(logits: Tensor, classes: Tensor) -> Tensor:
    """max_{i≠c} Z_i − Z_c: the best other logit minus the class's own, above 0 where another wins.

    The class's own logit is masked with −∞. Multiplying it by zero, as is often done, lets it win
    where all logits are negative.

    References:
        Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", §V-A (f₆,
        without its confidence).
    """
    own = logits.gather(1, classes[:, None])
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return others.amax(dim=1) - own.squeeze(1)


def log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """log((1 − p) / p) of the class; unlike p, it is not rounded where the model is confident."""
    own = logits.gather(1, classes[:, None])
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return others.logsumexp(dim=1) - own.squeeze(1)


def dlr(logits: Tensor, classes: Tensor) -> Tensor:
    """The difference of logits ratio: the margin divided by Z_π1 − Z_π3 (K >= 3).

    Z_π1 ≥ Z_π2 ≥ … are the sorted logits. The ratio has no scale: multiplying all logits by a
    hundred leaves the loss as it is, and its gradient does not vanish.

    References:
        Croce and Hein 2020, "Reliable evaluation of adversarial robustness", §4 (DLR).
    """
    _check_classes(logits, 3)
    z = logits.topk(3, dim=1).values
    return margin(logits, classes) / (z[:, 0] - z[:, 2]).clamp_min(_smallest_gap(logits))


def targeted_dlr(logits: Tensor, classes: Tensor) -> Tensor:
    """The DLR loss for a target: the margin divided by Z_π1 − (Z_π3 + Z_π4) / 2 (K >= 4).

    With the denominator of `dlr`, a target in third place would have no gradient.

    Differences from the paper:
        * The best other class takes the place of the true class.

    References:
        Croce and Hein 2020, "Reliable evaluation of adversarial robustness", §4 (targeted DLR).
    """
    _check_classes(logits, 4)
    z = logits.topk(4, dim=1).values
    gap = z[:, 0] - (z[:, 2] + z[:, 3]) / 2
    return margin(logits, classes) / gap.clamp_min(_smallest_gap(logits))


def _check_classes(logits: Tensor, minimum: int) -> None:
    """Raise unless the model has enough classes."""
    if logits.shape[1] < minimum:
        raise ValueError(f"loss needs at least {minimum} classes, got {logits.shape[1]}")


def _smallest_gap(logits: Tensor) -> float:
    """A floor for the denominator: equal logits must not divide by zero."""
    return torch.finfo(logits.dtype).eps ** 0.75


__getattr__ = renamed(
    __name__,
    {
        "logits_ratio": "armsrace.losses.dlr",
        "targeted_logits_ratio": "armsrace.losses.targeted_dlr",
    },
)
