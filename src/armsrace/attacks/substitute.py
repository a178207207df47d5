"""A black-box attack by way of a substitute: a network trained on what the model answers.

Papernot, McDaniel, Goodfellow, Jha, Celik and Swami 2017, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from armsrace.attacks.imitation import Substitute, train_substitute
from armsrace.attacks.problem import posed
from armsrace.attacks.transfer import transfer
from armsrace.contracts import UNIT, AttackResult, Bounds, Model

__all__ = ["Substitute", "substitute", "train_substitute"]


def substitute(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seeds: Tensor,
    build: Callable[[], nn.Module],
    attack: Callable[..., AttackResult],
    rounds: int = 6,
    step: float = 0.1,
    epochs: int = 10,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """A substitute is trained on the model's predictions, attacked, and the images transferred.

    Args:
        model: images to logits (N, K), of which only predictions are used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        seeds, build, rounds, step, epochs, learning_rate, batch_size, generator: how the
            substitute is trained, as for `train_substitute`; seeds follow the images' dtype.
        attack: any attack with its options set, called as for `transfer`.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.

    queries: one for the image itself, and an equal share of the training's, so that their sum is
    what the model was asked in all; the model gives no gradient. To attack several batches with
    one substitute, call `train_substitute` and `transfer`. Raises ValueError or TypeError naming
    the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> step = functools.partial(attacks.fgsm, epsilon=0.3)
    >>> found = attacks.substitute(
    ...     model, digits.images, digits.labels, seeds=digits.images, build=build, attack=step
    ... )
    >>> found.queries.sum() == 8 * 2**6 + 8, found.gradients.sum()
    (tensor(True), tensor(0))
    """
    with posed(model, images, labels, targets, bounds) as problem:
        trained = train_substitute(
            model, seeds.to(problem.images), build=build, rounds=rounds, step=step, epochs=epochs,
            learning_rate=learning_rate, batch_size=batch_size, bounds=bounds, generator=generator,
        )  # fmt: skip
        result = transfer(
            model, images, labels, source=trained.model, attack=attack, targets=targets,
            bounds=bounds,
        )  # fmt: skip
    share, rest = divmod(trained.queries, len(result))
    one_more = torch.arange(len(result), device=result.queries.device) < rest
    return replace(result, queries=result.queries + share + one_more)
