"""The worst case over several attacks, image by image, after AutoAttack (Croce and Hein 2020, §5).

Each attack runs only on images that are not yet adversarial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from armsrace.attacks import auto_pgd, fab, square
from armsrace.attacks.base import attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.evaluation.batches import Attack, box, seeded
from armsrace.losses import margin, targeted_dlr
from armsrace.norms import BUDGETED, distances

RESTARTS_L1, TARGETS_L1 = 5, 5
"""In L1: the starts of APGD on the cross-entropy, and the targets of the targeted one."""


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
    """The attacks of AutoAttack's standard ensemble: APGD twice, FAB and Square.

    Args:
        epsilon: the budget, in pixel units of the norm.
        steps: of APGD, on the cross-entropy and on the targeted difference-of-logits ratio (DLR),
            and of targeted FAB.
        targets: how many of the likeliest wrong classes APGD and FAB aim at.
        queries: of the square attack.
        norm: "linf", "l2" or "l1". In L1 APGD on the cross-entropy has 5 starts, and the targeted
            APGD 5 targets at most.
        seed: of the random attacks.

    Returns:
        The attacks by name, for `worst_case`. An image is done at the first success.

    Differences from the paper:
        * The DLR is constant where a model has two classes, and its targeted form needs four. With
          fewer the margin takes its place: APGD's steps do not depend on the scale of the logits.
        * Square shrinks its squares on a schedule scaled to `queries`.

    References:
        Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
        diverse parameter-free attacks", §5; Croce and Hein 2021, "Mind the box: ℓ₁-APGD for sparse
        adversarial attacks on image classifiers", §5 (L1).

    Example:
        >>> list(evaluation.autoattack(epsilon=0.3))
        ['APGD, cross-entropy', 'APGD, targeted DLR', 'nearest boundary', 'Square']
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("targets", targets)
    check_choice("norm", norm, BUDGETED)
    budget: dict[str, Any] = {"epsilon": epsilon, "norm": norm}
    apgd = partial(auto_pgd, **budget, steps=steps, stop_on_success=True)
    few = min(targets, TARGETS_L1) if norm == "l1" else targets
    starts = RESTARTS_L1 if norm == "l1" else 1
    nearest = partial(fab, **budget, steps=steps, target_classes=targets)
    return {
        "APGD, cross-entropy": seeded(partial(apgd, restarts=starts), seed),
        "APGD, targeted DLR": seeded(
            partial(apgd, target_classes=few, loss=targeted_dlr_or_margin), seed + 1
        ),
        "nearest boundary": partial(_within_budget, nearest, epsilon, norm),
        "Square": seeded(partial(square, **budget, queries=queries), seed + 2),
    }


def targeted_dlr_or_margin(logits: Tensor, classes: Tensor) -> Tensor:
    """The targeted DLR of four classes and more, else the margin."""
    return (targeted_dlr if logits.shape[1] > 3 else margin)(logits, classes)


def _within_budget(
    attack: Attack, epsilon: float, norm: Norm, model: Model, images: Tensor, labels: Tensor,
    bounds: Bounds = UNIT,
) -> AttackResult:  # fmt: skip
    """A minimal-norm attack, which succeeds only within the budget."""
    found = attack(model, images, labels, bounds=bounds)
    within = distances(found.images - images, norm) <= epsilon * (1 + 1e-6)
    return replace(found, success=found.success & within)
