"""The worst case over several attacks, image by image, after AutoAttack (Croce and Hein 2020, §5).

Each attack runs only on images that are not yet adversarial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from armsrace.attacks import auto_pgd, deepfool, square
from armsrace.attacks.base import attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_count,
)
from armsrace.evaluation.batches import Attack, box, seeded
from armsrace.losses import targeted_dlr
from armsrace.norms import distances


@dataclass(frozen=True)
class WorstCase:
    """The result of several attacks, and which attack fooled the model on each image.

    Args:
        result: as of one attack; the clean image if all attacks failed.
        names: "none" for images that are misclassified when clean, then the attacks in order.
        broken_by: (N,) int64, the index in `names` of the first attack that succeeded; -1 if none.
    """

    result: AttackResult
    names: tuple[str, ...]
    broken_by: Tensor

    @property
    def accuracies(self) -> dict[str, float]:
        """The accuracy after each attack; the last is the robust accuracy."""
        broken_by = torch.where(self.broken_by < 0, len(self.names), self.broken_by)
        return {
            name: (broken_by > index).double().mean().item()
            for index, name in enumerate(self.names)
        }


def worst_case(
    model: Model, images: Tensor, labels: Tensor, attacks: Mapping[str, Attack],
    bounds: Bounds = UNIT,
) -> WorstCase:  # fmt: skip
    """Run attacks in turn, each only on images that are still classified correctly.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        attacks: each by its name, called as attack(model, images, labels); it must keep to its own
            budget.
        bounds: the box of valid pixels; any but the unit box is given to the attacks.

    Returns:
        The worst case. Queries and gradients add up over the attacks that ran on an image, and the
        clean image costs one query.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> turns = evaluation.autoattack(epsilon=0.05, steps=5, queries=20)
        >>> found = evaluation.worst_case(model, digits.images, digits.labels, turns)
        >>> list(found.accuracies)[:2]
        ['none', 'APGD, cross-entropy']
    """
    if not attacks:
        raise ValueError("attacks must hold at least one")
    with attack_context(model, images, labels, None, bounds) as context:
        clean = context.result(images, queries=0, gradients=0)
    x_adv, queries, gradients = images.clone(), clean.queries.clone(), clean.gradients.clone()
    broken_by = torch.where(clean.success, 0, -1)
    for index, attack in enumerate(attacks.values(), start=1):
        active = (broken_by < 0).nonzero()[:, 0]
        if len(active) == 0:
            break
        found = attack(model, images[active], labels[active], **box(bounds))
        queries[active] += found.queries
        gradients[active] += found.gradients
        broken = active[found.success]
        x_adv[broken], broken_by[broken] = found.images[found.success], index
    result = AttackResult(x_adv, broken_by >= 0, queries, gradients)
    return WorstCase(result, ("none", *attacks), broken_by)


def autoattack(
    *, epsilon: float, steps: int = 100, targets: int = 9, queries: int = 5000,
    norm: Norm = "linf", seed: int = 0,
) -> dict[str, Attack]:  # fmt: skip
    """The attacks of AutoAttack's standard ensemble, made of this library's attacks.

    Args:
        epsilon: the budget, in pixel units of the norm.
        steps: of APGD, on the cross-entropy and on the targeted difference-of-logits ratio (DLR).
            DeepFool takes a quarter as many.
        targets: how many of the likeliest wrong classes the targeted attack tries.
        queries: of the square attack.
        norm: "linf" or "l2".
        seed: of the random attacks.

    Returns:
        The attacks by name, for `worst_case`.

    Differences from the paper:
        * DeepFool takes the place of FAB as the minimal-norm attack; it is less exact.

    References:
        Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
        diverse parameter-free attacks", §5.

    Example:
        >>> list(evaluation.autoattack(epsilon=0.3))
        ['APGD, cross-entropy', 'APGD, targeted DLR', 'nearest boundary', 'Square']
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("targets", targets)
    apgd = partial(auto_pgd, epsilon=epsilon, norm=norm, steps=steps)
    apgd_dlr = seeded(partial(apgd, loss=targeted_dlr), seed + 1)
    nearest = partial(deepfool, norm=norm, steps=max(1, steps // 4))
    square_attack = partial(square, epsilon=epsilon, norm=norm, queries=queries)
    return {
        "APGD, cross-entropy": seeded(apgd, seed),
        "APGD, targeted DLR": partial(_each_target, apgd_dlr, targets),
        "nearest boundary": partial(_within_budget, nearest, epsilon, norm),
        "Square": seeded(square_attack, seed + 2),
    }


def _each_target(
    attack: Attack, count: int, model: Model, images: Tensor, labels: Tensor,
    bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """A targeted attack on the likeliest wrong classes, one after another, until one succeeds.

    The images are those of the first target that succeeds, or of the last target tried.
    """
    with attack_context(model, images, labels, None, bounds) as context, torch.no_grad():
        logits = context.logits(images).scatter(1, labels[:, None], -torch.inf)
    order = logits.topk(min(count, logits.shape[1] - 1), dim=1).indices
    x_adv, success = images.clone(), torch.zeros_like(labels, dtype=torch.bool)
    queries, gradients = torch.ones_like(labels), torch.zeros_like(labels)
    for targets in order.T:
        active = (~success).nonzero()[:, 0]
        if len(active) == 0:
            break
        found = attack(
            model, images[active], labels[active], targets=targets[active], bounds=bounds
        )
        queries[active] += found.queries
        gradients[active] += found.gradients
        x_adv[active], success[active] = found.images, found.success
    return AttackResult(x_adv, success, queries, gradients)


def _within_budget(
    attack: Attack, epsilon: float, norm: Norm, model: Model, images: Tensor, labels: Tensor,
    bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """A minimal-norm attack, which succeeds only within the budget."""
    found = attack(model, images, labels, bounds=bounds)
    within = distances(found.images - images, norm) <= epsilon * (1 + 1e-6)
    return replace(found, success=found.success & within)
