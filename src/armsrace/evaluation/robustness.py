"""Accuracy as a function of the attacker's budget, and distances of adversarial images."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from armsrace.attacks.base import call_model
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_images,
    check_labels,
    check_logits,
)
from armsrace.evaluation.batches import attack_in_batches
from armsrace.norms import distances


@dataclass(frozen=True)
class RobustnessCurve:
    """The accuracy (a fraction) at each budget epsilon (in pixel units), over n images."""

    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]
    n: int


def accuracy(
    model: Model, images: Tensor, labels: Tensor, batch_size: int = 1000, bounds: Bounds = UNIT
) -> float:
    """The fraction of images that a model classifies correctly.

    Args:
        model: images to logits (N, K). Put an nn.Module in evaluation mode first.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        batch_size: images per forward pass.
        bounds: the box of valid pixels.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(100)
        >>> evaluation.accuracy(model, digits.images, digits.labels) > 0.8
        True
    """
    return _correct(model, images, labels, batch_size, bounds).float().mean().item()


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
    bounds: Bounds = UNIT,
) -> RobustnessCurve:
    """Accuracy under a fixed-budget attack, as a function of the budget.

    Each budget is attacked from scratch: successes at smaller budgets are not carried over, so a
    curve that rises shows that the attack fails (see `masking_report`). An image that is
    misclassified when clean counts as misclassified at every budget, since the clean image is
    within any budget.

    Args:
        model: images to logits (N, K).
        attack: called as attack(model, images, labels, epsilon=…); set the rest with
            functools.partial.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilons: the budgets, in the attack's own unit. At 0 the accuracy is the clean one.
        batch_size: images per call of the attack.
        devices: as of `attack_in_batches`.
        progress: show a progress bar for each budget.
        bounds: the box of valid pixels; any but the unit box is given to the attack.

    Raises:
        TypeError: the attack takes no epsilon.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(20)
        >>> known = (digits.images, digits.labels)
        >>> curve = evaluation.robustness_curve(model, attacks.fgsm, *known, [0.0, 0.2])
        >>> curve.accuracies[0] > curve.accuracies[1]
        True
    """
    _check_budgeted(attack)
    for epsilon in epsilons:
        check_at_least("epsilon", epsilon, 0)
    correct = _correct(model, images, labels, batch_size, bounds)

    def accuracy_under(epsilon: float) -> float:
        if epsilon == 0:
            return correct.float().mean().item()
        result = attack_in_batches(
            partial(attack, epsilon=epsilon), model, images, labels,
            batch_size=batch_size, devices=devices, bounds=bounds,
            progress=f"ε = {epsilon:g}" if progress else None,
        )  # fmt: skip
        return (correct & ~result.success).float().mean().item()

    accuracies = tuple(accuracy_under(epsilon) for epsilon in epsilons)
    return RobustnessCurve(tuple(epsilons), accuracies, len(images))


def perturbation_sizes(images: Tensor, result: AttackResult, norm: Norm) -> Tensor:
    """The distance of each adversarial image from its clean image.

    Args:
        images: (N, C, H, W), the clean images.
        result: of an attack on them.
        norm: "linf", "l2", "l1" or "l0".

    Returns:
        (N,) in pixel units of the norm; infinite if the attack failed.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.deepfool(model, digits.images, digits.labels)
        >>> evaluation.perturbation_sizes(digits.images, found, "l2").shape
        torch.Size([8])
    """
    delta = result.images - images
    return torch.where(result.success, distances(delta, norm), torch.inf)


def median_distance(images: Tensor, result: AttackResult, norm: Norm) -> float:
    """The median of `perturbation_sizes`.

    It is infinite if the attack fails on half of the images or more. For an even count it is the
    mean of the two middle distances, as in NumPy.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.deepfool(model, digits.images, digits.labels)
        >>> 0 < evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    ordered = perturbation_sizes(images, result, norm).sort().values
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low.item() if low == high else ((low + high) / 2).item()


def accuracy_at(sizes: Tensor, epsilons: Sequence[float]) -> RobustnessCurve:
    """The robustness curve of a minimal-norm attack.

    Args:
        sizes: (N,), distances as of `perturbation_sizes`. An image that is misclassified when clean
            has distance 0 and counts as misclassified at every epsilon.
        epsilons: the budgets.

    Returns:
        The fraction of distances beyond each epsilon.

    Example:
        >>> sizes = torch.tensor([0.0, 0.2, 0.2, torch.inf])
        >>> evaluation.accuracy_at(sizes, [0.0, 0.1, 0.3]).accuracies
        (0.75, 0.75, 0.25)
    """
    values = tuple((sizes > epsilon).float().mean().item() for epsilon in epsilons)
    return RobustnessCurve(tuple(epsilons), values, len(sizes))


def _check_budgeted(attack: Callable[..., AttackResult]) -> None:
    """Raise TypeError unless the attack takes `epsilon`."""
    if not callable(attack):
        raise TypeError(
            f"attack must be a function such as attacks.pgd, got {type(attack).__name__}"
        )
    parameters = inspect.signature(attack).parameters.values()
    if not any(one.name == "epsilon" or one.kind is one.VAR_KEYWORD for one in parameters):
        raise TypeError(
            f"attack must take epsilon=, got {attack!r}; the curve of an attack of minimal norm is "
            "accuracy_at(perturbation_sizes(…), epsilons)"
        )


@torch.no_grad()
def _correct(
    model: Model, images: Tensor, labels: Tensor, batch_size: int, bounds: Bounds
) -> Tensor:
    """(N,) bool: images that are classified correctly."""
    check_images(images, bounds)
    check_labels(labels, len(images))
    logits = torch.cat([call_model(model, batch.clone()) for batch in images.split(batch_size)])
    check_logits(logits, len(images))
    return logits.argmax(dim=1) == labels


def optimality(distances: Tensor, envelope: Tensor) -> float:
    """1 for an attack that is as near as the best on every image, 0 for one that finds nothing.

    The area under an attack's robust accuracy, as a function of the budget, is the mean distance,
    where distances beyond ε₀, the largest of the envelope, count as ε₀. With A that area, A* the
    envelope's and ρ the clean accuracy, the optimality is 1 − (A − A*) / (ρ ε₀ − A*).

    Args:
        distances: (N,) of an attack's nearest adversarial images; infinite where it found none, 0
            where the clean image is misclassified.
        envelope: (N,), the least distances that any attack found.

    Returns:
        The optimality. Above 1 where the attack is nearer than the envelope.

    Differences from the paper:
        * The authors' code integrates between the distances by the trapezoidal rule, and from the
          smallest distance on; here the area under the steps is exact.

    References:
        Cinà, Rony, Pintor, Demetrio, Demontis, Biggio, Ben Ayed and Roli 2025, "AttackBench:
        evaluating gradient-based attacks for adversarial examples", §3.

    Example:
        >>> best = torch.tensor([1.0, 2.0, 3.0])
        >>> evaluation.optimality(best, best)
        1.0
        >>> evaluation.optimality(torch.full((3,), torch.inf), best)
        0.0
    """
    if distances.shape != envelope.shape or distances.ndim != 1 or len(distances) == 0:
        raise ValueError(
            f"distances and envelope must have the same shape (N,), got {tuple(distances.shape)} "
            f"and {tuple(envelope.shape)}"
        )
    if not torch.isfinite(envelope).all():
        raise ValueError("envelope must be finite: leave out images on which no attack succeeded")
    distances, envelope = distances.double(), envelope.double()
    largest = envelope.max()
    area, best = distances.clamp_max(largest).mean(), envelope.mean()
    clean = (envelope > 0).double().mean()
    missing = clean * largest - best
    if missing <= 0:
        # All distances of the envelope are equal: there is nothing between the best and nothing.
        return float((distances <= envelope).double().mean())
    return float(1 - (area - best) / missing)
