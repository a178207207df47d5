"""The adversarial saliency map: which pixels raise one output and lower the others.

Papernot et al. 2016, equations 8 and 10; Carlini and Wagner 2017, §III-C.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks.margins import log_odds
from armsrace.attacks.problem import Problem, gradient_of

Form = Literal["logits", "softmax"]
SCORES_AT_ONCE = 2**22


def slopes(problem: Problem, images: Tensor, form: Form) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, K), and the slopes α and β (N, H · W) of what shall rise and of what shall fall.

    With a target its output shall rise and the sum of all others fall; without, the sum of all
    others shall rise and the label's output fall. Softmax outputs sum to one, so that there one
    slope is minus the other; for both stands the slope of the log odds, which is p's own times a
    factor and, unlike it, does not vanish where the model is sure.
    """
    images = images.detach().requires_grad_()
    classes = problem.labels if problem.targets is None else problem.targets
    with torch.enable_grad():
        logits = problem.logits(images)
        if form == "softmax":
            others = _of_pixels(gradient_of(log_odds(logits, classes).sum(), images))
            own = -others
        else:
            output = logits.gather(1, classes[:, None])
            own = _of_pixels(gradient_of(output.sum(), images, again=True))
            others = _of_pixels(gradient_of(logits.sum(), images)) - own
    return logits.detach(), *((own, others) if problem.targets is not None else (others, own))


def most_salient(
    alpha: Tensor, beta: Tensor, movable: Tensor, pixels: int
) -> tuple[Tensor, Tensor]:
    """The pixels (N, 1 or 2) of the greatest −α·β with α > 0 > β, and whether there are any (N,).

    alpha and beta are the slopes (N, P), added up over the chosen pixels; of those not `movable`
    (N, P) none is chosen. The best pair is found exactly, yet without a table of P × P: of a pair,
    a pixel whose two slopes are both no better than those of two others can be exchanged for one
    of them. A few dozen pixels an image remain, of which every pair is tried.
    """
    rise = alpha.masked_fill(~movable, -torch.inf)
    fall = (-beta).masked_fill(~movable, -torch.inf)
    if pixels == 1:
        score, chosen = _scores(rise, fall).max(dim=1, keepdim=True)
        return chosen, score[:, 0] > -torch.inf
    rise, order = rise.sort(dim=1, descending=True, stable=True)
    fall = fall.gather(1, order)
    kept = fall > _second_best_before(fall)
    count = max(2, int(kept.sum(dim=1).max()))
    places = kept.byte().sort(dim=1, descending=True, stable=True).indices[:, :count]
    rise, fall, kept, order = (v.gather(1, places) for v in (rise, fall, kept, order))
    score, pairs = _best_pairs(rise, fall.masked_fill(~kept, -torch.inf))
    return order.gather(1, pairs), score > -torch.inf


def _best_pairs(rise: Tensor, fall: Tensor) -> tuple[Tensor, Tensor]:
    """The best score (N,) of two different places of (N, M), and the two (N, 2)."""
    size = rise.shape[1]
    itself = torch.eye(size, dtype=torch.bool, device=rise.device)
    found = []
    at_once = max(1, SCORES_AT_ONCE // size**2)
    for one, other in zip(rise.split(at_once), fall.split(at_once), strict=True):
        table = _scores(one[:, :, None] + one[:, None], other[:, :, None] + other[:, None])
        found.append(table.masked_fill(itself, -torch.inf).flatten(1).max(dim=1))
    score, index = (torch.cat(column) for column in zip(*found, strict=True))
    return score, torch.stack([index // size, index % size], dim=1)


def _scores(rise: Tensor, fall: Tensor) -> Tensor:
    return torch.where((rise > 0) & (fall > 0), rise * fall, -torch.inf)


def _second_best_before(values: Tensor) -> Tensor:
    """For each place of (N, P) the second greatest of the values before it, −∞ where none is."""
    beaten = torch.minimum(values, _before(values.cummax(dim=1).values))
    return _before(beaten.cummax(dim=1).values)


def _before(values: Tensor) -> Tensor:
    return functional.pad(values[:, :-1], (1, 0), value=-torch.inf)


def _of_pixels(gradient: Tensor) -> Tensor:
    return gradient.sum(dim=1).flatten(1)
