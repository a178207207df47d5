"""Adversarial images of one model, tried on another."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from armsrace.attacks.problem import posed
from armsrace.contracts import UNIT, AttackResult, Bounds, Model


def transfer(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    source: Model,
    attack: Callable[..., AttackResult],
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """What `attack` finds on a model of the attacker's own, judged by the model under attack.

    Args:
        model: images to logits (N, K), of which only the final prediction is asked.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        source: images to logits, the model that the attacker holds.
        attack: any attack with its options set, e.g. functools.partial(pgd, epsilon=0.2); it is
            called as attack(source, images, labels, bounds=…), and with targets=… where given.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.

    queries and gradients are those of `model`, one and none; what the source is asked costs the
    attacker nothing that its owner sees. The images are those that the attack on the source
    returned, also where the model is not fooled. Raises ValueError or TypeError naming the argument
    and the rule it breaks. Source: Szegedy et al. 2014, §4.2.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> step = functools.partial(attacks.fgsm, epsilon=0.2)
    >>> own = zoo.load("s3-cnn")
    >>> found = attacks.transfer(model, digits.images, digits.labels, source=own, attack=step)
    >>> found.queries[0], found.gradients[0]
    (tensor(1), tensor(0))
    """
    aim = {} if targets is None else {"targets": targets}
    with posed(model, images, labels, targets, bounds) as problem:
        found = attack(source, images, labels, bounds=bounds, **aim)
        return problem.finish(found.images, queries=0, gradients=0)
