"""The Carlini–Wagner attack in L∞: a ceiling for every pixel's change, lowered while it can be.

Carlini and Wagner 2017, §VI-C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.nearest import Nearest, check_options
from armsrace.attacks.norms import column, distances
from armsrace.attacks.problem import posed
from armsrace.attacks.progress import PerImage, Progress
from armsrace.attacks.tanh_adam import TanhAdam
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least


def carlini_wagner_linf(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    confidence: float = 0.0,
    steps: int = 1000,
    step_size: float = 0.01,
    initial_constant: float = 0.01,
    largest_constant: float = 20.0,
    decrease: float = 0.95,
    levels: int | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Minimises Σ (δ − τ)⁺ + c · max(κ − margin, 0), δ each change, and lowers τ when it is 0.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead.
        steps: Adam steps for each τ and c, at most.
        step_size: of Adam, in units of w = atanh of the pixel.
        initial_constant: the first c, doubled where it leaves the image as it was read.
        largest_constant: no c above it is tried.
        decrease: the next τ is this part of the largest change that succeeded.
        levels: judge images rounded to so many pixel values, 256 for 8 bits, and return those.
        bounds: the box of valid pixels; τ starts at its width, and ends at a 256th of it.

    Each image has its own τ, c and end; c stays when τ is lowered, and the search goes on from
    where it stands (§VI-C). Beside the authors' code: c starts at 0.01 and not at 1e-5, which takes
    more steps for the same distance; τ falls to 0.95 and not to 0.9 of the change, and Adam's steps
    are 0.01 and not 0.005; steps are left when a twentieth of them lowered the objective by less
    than 5 %; and an image ends when it is adversarial above the ceiling, where a greater c would
    only lift it further. A step costs one pass and one gradient. Where no image reaches κ the clean
    one is returned. Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.carlini_wagner_linf(model, digits.images, digits.labels, steps=50)
    >>> evaluation.median_distance(digits.images, found, "linf") < 0.1
    True
    """
    check_options(confidence, steps, step_size, initial_constant, levels)
    check_at_least("largest_constant", largest_constant, initial_constant)
    if not 0 < decrease < 1:
        raise ValueError(f"decrease must be > 0 and < 1, got {decrease}")
    with posed(model, images, labels, targets, bounds) as problem:
        found = Nearest(problem, confidence)
        descent = TanhAdam(found.clean, bounds, step_size, levels)
        width = bounds.upper - bounds.lower
        ceilings = _Ceilings(found.sizes, width, decrease, initial_constant, largest_constant)
        _search(found, descent, ceilings, Progress(found.sizes, steps, gain=0.05))
        return found.finish()


def _search(found: Nearest, descent: TanhAdam, ceilings: _Ceilings, progress: Progress) -> None:
    while len(found.places):
        images = descent.images()
        slopes, margins = found.ask(images)
        moved = images - found.clean
        sizes = distances(moved, "linf")
        reached = found.offer(images, margins, sizes)
        above = (moved.abs() - column(ceilings.values)).clamp_min(0)
        descent.step(moved.sign() * (above > 0) - column(ceilings.constants * ~reached) * slopes)
        objective = above.flatten(1).sum(dim=1) + ceilings.constants * found.lacking(margins)
        ended = progress.ended(objective, reached, descent.counts)
        lowered = reached & (sizes <= ceilings.values)
        if (ended | lowered).any():
            descent.restart(ended | lowered, images[ended | lowered])
            going = ceilings.replace(lowered, sizes, ended & ~lowered, progress.lately)
            for part in (found, descent, ceilings, progress):
                part.keep(going)


class _Ceilings(PerImage):
    """The ceiling τ and the constant c (N,) of each image."""

    def __init__(
        self, like: Tensor, width: float, decrease: float, constant: float, largest: float
    ) -> None:
        self.values, self.constants = torch.full_like(like, width), torch.full_like(like, constant)
        self._smallest, self._decrease, self._largest = width / 256, decrease, largest

    def replace(self, kept: Tensor, sizes: Tensor, failed: Tensor, broken: Tensor) -> Tensor:
        """Lower the ceilings that were kept, raise the constants that failed; (N,) bool: go on.

        sizes (N,): the largest change of each image. broken (N,) bool: it is adversarial, above
        its ceiling.
        """
        self.values = torch.where(kept, self._decrease * sizes, self.values)
        self.constants = torch.where(failed, 2 * self.constants, self.constants)
        possible = (self.values > self._smallest) & (self.constants <= self._largest)
        return possible & ~(failed & broken)
