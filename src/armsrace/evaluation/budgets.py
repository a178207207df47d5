"""From a fixed-budget attack to the least budget that it needs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from armsrace.attacks.problem import Problem, posed
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least


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
    """Each image at the first budget of a list at which a fixed-budget attack succeeds.

    Args:
        attack: called as attack(model, images, labels, epsilon=…), with targets=… where targets are
            given; set the rest with functools.partial.
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilons: the budgets, ascending, in the attack's own unit.
        targets: (N,) int64 wanted classes.
        bisect: halve the list at each trial; False tries one budget after the other.
        bounds: the box of valid pixels.

    The result is a minimal-norm attack's: the clean image where no budget succeeds, and where none
    is needed. Bisection takes success at one budget to mean success at all larger ones; for an
    attack that can overshoot, such as FGSM, it finds a budget that succeeds but perhaps not the
    first. Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> budgets = [0.05, 0.1, 0.2]
    >>> found = evaluation.smallest_epsilon(
    ...     attacks.bim, model, digits.images, digits.labels, budgets
    ... )
    >>> found.success.all()
    tensor(True)
    """
    _check_ascending(epsilons)
    with posed(model, images, labels, targets, bounds) as problem:
        found = problem.images.clone()
        with torch.no_grad():
            needed = ~problem.fooled(problem.logits(found))
        queries, gradients = torch.ones_like(problem.labels), torch.zeros_like(problem.labels)
        # The answer's place in the list lies between first and last; at the end is none.
        first, last = torch.zeros_like(queries), torch.where(needed, len(epsilons), 0)
        while (first < last).any():
            trial = (first + last) // 2 if bisect else first.clone()
            for place in trial[first < last].unique().tolist():
                chosen = ((first < last) & (trial == place)).nonzero()[:, 0]
                result = _attacked(attack, problem.subset(chosen), epsilons[place])
                queries[chosen] += result.queries
                gradients[chosen] += result.gradients
                found[chosen[result.success]] = result.images[result.success]
                last[chosen[result.success]] = place
                first[chosen[~result.success]] = place + 1
        return problem.finish_nearest(found, queries, gradients)


def _attacked(attack: Callable[..., AttackResult], part: Problem, epsilon: float) -> AttackResult:
    wanted = {} if part.targets is None else {"targets": part.targets}
    return attack(part.model, part.images, part.labels, epsilon=epsilon, **wanted)


def _check_ascending(epsilons: Sequence[float]) -> None:
    if len(epsilons) == 0:
        raise ValueError("epsilons must not be empty")
    check_at_least("epsilons", epsilons[0], 0)
    for low, high in itertools.pairwise(epsilons):
        if not low < high:
            raise ValueError(f"epsilons must ascend, got {low:g} before {high:g}")
