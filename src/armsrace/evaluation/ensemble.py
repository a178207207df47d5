"""The worst of several attacks, image by image, each on what the ones before it left.

After AutoAttack (Croce and Hein 2020, §5), with this library's attacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from armsrace.attacks import auto_pgd, deepfool, square
from armsrace.attacks.margins import targeted_logits_ratio
from armsrace.attacks.norms import distances
from armsrace.attacks.problem import posed
from armsrace.contracts import UNIT, AttackResult, Model, Norm, check_at_least, check_count
from armsrace.evaluation.batches import Attack, seeded


@dataclass(frozen=True)
class WorstCase:
    """What is left after each attack.

    result: as of one attack; of an image that withstood all, the clean one comes back.
    names: "none" for images misread as they are, then the attacks in their order.
    broken_by: (N,) int64, the place in `names` of the first that broke an image; -1 where none did.
    """

    result: AttackResult
    names: tuple[str, ...]
    broken_by: Tensor

    @property
    def accuracies(self) -> dict[str, float]:
        """The fraction of images left after each name's turn; the last is the robust accuracy."""
        places = torch.where(self.broken_by < 0, len(self.names), self.broken_by)
        return {
            name: (places > place).double().mean().item() for place, name in enumerate(self.names)
        }


def worst_case(
    model: Model, images: Tensor, labels: Tensor, attacks: Mapping[str, Attack]
) -> WorstCase:
    """Each attack in turn, on the images (N, C, H, W) that are still read as their labels (N,).

    An attack is called as attack(model, images, labels) and must keep to its budget by itself.
    Queries and gradients add up over the attacks that an image met, and the clean image costs a
    query. Raises ValueError where there is no attack, and as the attacks do.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> turns = evaluation.autoattack(epsilon=0.05, steps=5, queries=20)
    >>> found = evaluation.worst_case(model, digits.images, digits.labels, turns)
    >>> list(found.accuracies)[:2]
    ['none', 'APGD, cross-entropy']
    """
    if not attacks:
        raise ValueError("attacks must hold at least one")
    with posed(model, images, labels, None, UNIT) as problem:
        clean = problem.finish(images, queries=0, gradients=0)
    found, queries, gradients = images.clone(), clean.queries.clone(), clean.gradients.clone()
    broken_by = torch.where(clean.success, 0, -1)
    for place, attack in enumerate(attacks.values(), start=1):
        left = (broken_by < 0).nonzero()[:, 0]
        if len(left) == 0:
            break
        turn = attack(model, images[left], labels[left])
        queries[left] += turn.queries
        gradients[left] += turn.gradients
        fell = left[turn.success]
        found[fell], broken_by[fell] = turn.images[turn.success], place
    result = AttackResult(found, broken_by >= 0, queries, gradients)
    return WorstCase(result, ("none", *attacks), broken_by)


def autoattack(
    *, epsilon: float, steps: int = 100, targets: int = 9, queries: int = 5000,
    norm: Norm = "linf", seed: int = 0,
) -> dict[str, Attack]:  # fmt: skip
    """The attacks of an AutoAttack of our own, for `worst_case`.

    APGD on the cross-entropy, and on the difference-of-logits ratio towards each of the `targets`
    likeliest wrong classes, both of `steps`; the nearest boundary, in a quarter as many; and the
    square attack of `queries`. The authors' third is FAB; here DeepFool, which is less exact.
    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> list(evaluation.autoattack(epsilon=0.3))
    ['APGD, cross-entropy', 'APGD, targeted DLR', 'nearest boundary', 'Square']
    """
    check_at_least("epsilon", epsilon, 0)
    check_count("targets", targets)
    climb = partial(auto_pgd, epsilon=epsilon, norm=norm, steps=steps)
    aimed = seeded(partial(climb, loss=targeted_logits_ratio), seed + 1)
    nearest = partial(deepfool, norm=norm, steps=max(1, steps // 4))
    squares = partial(square, epsilon=epsilon, norm=norm, queries=queries)
    return {
        "APGD, cross-entropy": seeded(climb, seed),
        "APGD, targeted DLR": partial(_towards_each, aimed, targets),
        "nearest boundary": partial(_within, nearest, epsilon, norm),
        "Square": seeded(squares, seed + 2),
    }


def _towards_each(
    attack: Attack, count: int, model: Model, images: Tensor, labels: Tensor
) -> AttackResult:
    """A targeted attack towards the likeliest wrong classes, one after another, till one succeeds.

    The returned images are of the first target reached, or of the last one tried.
    """
    with posed(model, images, labels, None, UNIT) as problem, torch.no_grad():
        logits = problem.logits(images).scatter(1, labels[:, None], -torch.inf)
    order = logits.topk(min(count, logits.shape[1] - 1), dim=1).indices
    found, success = images.clone(), torch.zeros_like(labels, dtype=torch.bool)
    queries, gradients = torch.ones_like(labels), torch.zeros_like(labels)
    for targets in order.T:
        left = (~success).nonzero()[:, 0]
        if len(left) == 0:
            break
        turn = attack(model, images[left], labels[left], targets=targets[left])
        queries[left] += turn.queries
        gradients[left] += turn.gradients
        found[left], success[left] = turn.images, turn.success
    return AttackResult(found, success, queries, gradients)


def _within(
    attack: Attack, epsilon: float, norm: Norm, model: Model, images: Tensor, labels: Tensor
) -> AttackResult:
    """A search of the nearest, which succeeds where what it found is near enough."""
    turn = attack(model, images, labels)
    near = distances(turn.images - images, norm) <= epsilon * (1 + 1e-6)
    return replace(turn, success=turn.success & near)
