"""Transfer: adversarial images of one model, tried on another (Szegedy et al. 2014, §4.2)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from armsrace.attacks.base import attack_context
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
    """Attack a model of the attacker's own, and try the images on the model under attack.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        source: images to logits, the model that the attacker holds.
        attack: any attack with its options set, e.g. functools.partial(pgd, epsilon=0.2). It is
            called as attack(source, images, labels, bounds=…), and with targets=… if given.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.

    Returns:
        The images that the attack on the source returned, also where the model is not fooled.
        queries and gradients are those of `model`; the source's are not counted, as its owner is
        the attacker.

    Cost:
        One forward pass of the model per image, no backward pass.

    References:
        Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow and Fergus 2014, "Intriguing
        properties of neural networks", §4.2.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> step = functools.partial(attacks.fgsm, epsilon=0.2)
        >>> own = zoo.load("s3-cnn")
        >>> found = attacks.transfer(model, digits.images, digits.labels, source=own, attack=step)
        >>> found.queries[0], found.gradients[0]
        (tensor(1), tensor(0))
    """
    options = {} if targets is None else {"targets": targets}
    with attack_context(model, images, labels, targets, bounds, decisions=True) as context:
        found = attack(source, images, labels, bounds=bounds, **options)
        return context.result(found.images, queries=0, gradients=0)
