"""How accuracy falls as the attacker's budget grows, and how far images had to move."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks.norms import distances
from armsrace.contracts import (
    AttackResult,
    Model,
    Norm,
    check_at_least,
    check_images,
    check_labels,
    check_logits,
)
from armsrace.evaluation.batches import attack_in_batches


@dataclass(frozen=True)
class RobustnessCurve:
    """Accuracy (fractions) at each budget epsilon (pixel units), over the same n images."""

    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    n: int


def accuracy(model: Model, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
    """The fraction of images (N, C, H, W) whose greatest logit is the label's (N,).

    The model is asked as it is: put an nn.Module in evaluation mode first. Raises ValueError where
    the images, the labels or the model break the contract.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(100)
    >>> evaluation.accuracy(model, digits.images, digits.labels) > 0.8
    True
    """
    return _correct(model, images, labels, batch_size).float().mean().item()


def robustness_curve(
    model: Model,
    attack: Callable[..., AttackResult],
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    batch_size: int = 500,
    devices: Sequence[str] | None = None,
    progress: bool = False,
) -> RobustnessCurve:
    """Accuracy under a fixed-budget attack at each epsilon; at 0 it is the clean accuracy.

    attack: called as attack(model, images, labels, epsilon=…); set the rest with functools.partial.
    Each image is attacked at each budget on its own: what broke it at a smaller one is not carried
    over, so that a curve that rises shows an attack that fails (see `masking_report`). Every image
    counts, those misclassified from the start too: an attack cannot make them right again, since
    the clean image is within any budget. Raises ValueError for a negative epsilon, TypeError for an
    attack that takes none.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(20)
    >>> known = (digits.images, digits.labels)
    >>> curve = evaluation.robustness_curve(model, attacks.fgsm, *known, [0.0, 0.2])
    >>> curve.accuracies[0] > curve.accuracies[1]
    True
    """
    _check_budgeted(attack)
    for epsilon in epsilons:
        check_at_least("epsilon", epsilon, 0)
    right = _correct(model, images, labels, batch_size)

    def one(epsilon: float) -> float:
        if epsilon == 0:
            return right.float().mean().item()
        result = attack_in_batches(
            lambda *batch: attack(*batch, epsilon=epsilon), model, images, labels,
            batch_size=batch_size, devices=devices,
            progress=f"ε = {epsilon:g}" if progress else None,
        )  # fmt: skip
        return (right & ~result.success).float().mean().item()

    return RobustnessCurve(tuple(epsilons), tuple(one(value) for value in epsilons), len(images))


def perturbation_sizes(images: Tensor, result: AttackResult, norm: Norm) -> Tensor:
    """How far each image (N, C, H, W) moved, (N,) in pixel units of the norm; ∞ where it failed.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.deepfool(model, digits.images, digits.labels)
    >>> evaluation.perturbation_sizes(digits.images, found, "l2").shape
    torch.Size([8])
    """
    sizes = distances(result.images - images, norm)
    return torch.where(result.success, sizes, torch.inf)


def median_distance(images: Tensor, result: AttackResult, norm: Norm) -> float:
    """The median of `perturbation_sizes`: infinite once half the images or more withstood.

    For an even count the mean of the two middle sizes, as numpy's.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.deepfool(model, digits.images, digits.labels)
    >>> 0 < evaluation.median_distance(digits.images, found, "l2") < 1.5
    True
    """
    ordered = perturbation_sizes(images, result, norm).sort().values
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low.item() if low == high else ((low + high) / 2).item()


def accuracy_at(sizes: Tensor, epsilons: Sequence[float]) -> RobustnessCurve:
    """The curve that a minimal-norm attack draws: the fraction of sizes (N,) beyond each epsilon.

    An image misclassified from the start has size 0 and counts as wrong at every epsilon, 0 too.

    >>> sizes = torch.tensor([0.0, 0.2, 0.2, torch.inf])
    >>> evaluation.accuracy_at(sizes, [0.0, 0.1, 0.3]).accuracies
    (0.75, 0.75, 0.25)
    """
    values = tuple((sizes > epsilon).float().mean().item() for epsilon in epsilons)
    return RobustnessCurve(tuple(epsilons), values, len(sizes))


def _check_budgeted(attack: Callable[..., AttackResult]) -> None:
    if not callable(attack):
        raise TypeError(
            f"attack must be a function such as attacks.pgd, got {type(attack).__name__}"
        )
    taken = inspect.signature(attack).parameters.values()
    if not any(one.name == "epsilon" or one.kind is one.VAR_KEYWORD for one in taken):
        raise TypeError(
            f"attack must take epsilon=, got {attack!r}; the curve of an attack of minimal norm is "
            "accuracy_at(perturbation_sizes(…), epsilons)"
        )


@torch.no_grad()
def _correct(model: Model, images: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    check_images(images)
    check_labels(labels, len(images))
    logits = torch.cat([model(batch) for batch in images.split(batch_size)])
    check_logits(logits, len(images))
    return logits.argmax(dim=1) == labels
