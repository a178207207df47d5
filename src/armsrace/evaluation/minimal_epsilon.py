"""From a fixed-budget attack to a minimal-norm attack: the smallest budget that succeeds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from armsrace.attacks.base import attack_context
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least
from armsrace.evaluation.batches import box


def smallest_epsilon(
    attack: Callable[..., AttackResult],
    model: Model,
    images: Tensor,
    labels: Tensor,
    epsilons: Sequence[float],
    *,
    targets: Tensor | None = None,
    bisect: bool = False,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The smallest budget of a list at which a fixed-budget attack succeeds, image by image.

    Args:
        attack: called as attack(model, images, labels, epsilon=…), with targets=… if targets are
            given; set the rest with functools.partial.
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilons: the budgets, ascending, in the attack's own unit.
        targets: (N,) int64 wanted classes.
        bisect: search the list by bisection instead of trying one budget after the other. It
            assumes that an attack that succeeds at one budget succeeds at all larger ones. For an
            attack that can overshoot, such as FGSM, it may not find the smallest budget.
        bounds: the box of valid pixels; any but the unit box is given to the attack.

    Returns:
        As of a minimal-norm attack: the clean image if no budget succeeds, or none is needed.

    Cost:
        One attack per budget tried, only on images that are still under search.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> budgets = [0.05, 0.1, 0.2]
        >>> found = evaluation.smallest_epsilon(
        ...     attacks.bim, model, digits.images, digits.labels, budgets
        ... )
        >>> found.success.all()
        tensor(True)
    """
    _check_ascending(epsilons)
    with attack_context(model, images, labels, targets, bounds) as context:
        x_adv = context.images.clone()
        with torch.no_grad():
            clean_correct = ~context.is_adversarial(context.logits(x_adv))
        queries, gradients = torch.ones_like(context.labels), torch.zeros_like(context.labels)
        # The index of the smallest budget is between lower and upper; len(epsilons) means none.
        lower, upper = torch.zeros_like(queries), torch.where(clean_correct, len(epsilons), 0)
        while (lower < upper).any():
            trial = (lower + upper) // 2 if bisect else lower.clone()
            for index in trial[lower < upper].unique().tolist():
                active = ((lower < upper) & (trial == index)).nonzero()[:, 0]
                part = context.select(active)
                wanted = {} if part.targets is None else {"targets": part.targets}
                found = attack(
                    part.model, part.images, part.labels, epsilon=epsilons[index], **wanted,
                    **box(bounds),
                )  # fmt: skip
                queries[active] += found.queries
                gradients[active] += found.gradients
                x_adv[active[found.success]] = found.images[found.success]
                upper[active[found.success]] = index
                lower[active[~found.success]] = index + 1
        return context.minimal_result(x_adv, queries, gradients)


def _check_ascending(epsilons: Sequence[float]) -> None:
    """Raise ValueError unless the budgets ascend from 0 or more."""
    if len(epsilons) == 0:
        raise ValueError("epsilons must not be empty")
    check_at_least("epsilons", epsilons[0], 0)
    for low, high in itertools.pairwise(epsilons):
        if not low < high:
            raise ValueError(f"epsilons must ascend, got {low:g} before {high:g}")
