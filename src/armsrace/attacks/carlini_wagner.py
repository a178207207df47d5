"""The Carlini–Wagner attack in L2: the nearest image that is read otherwise, by Adam.

Carlini and Wagner 2017, §V (the objective) and §VI-A (the attack).
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.nearest import Nearest, check_options
from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.progress import PerImage, Progress
from armsrace.attacks.tanh_adam import TanhAdam
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_count


def carlini_wagner_l2(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    confidence: float = 0.0,
    binary_search_steps: int = 9,
    steps: int = 1000,
    step_size: float = 0.01,
    initial_constant: float = 1e-3,
    abort_early: bool = True,
    levels: int | None = None,
    start: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Minimises ‖x′ − x‖² + c · max(κ − margin(x′), 0), the smallest c that succeeds sought.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead. Images found for a greater one transfer better.
        binary_search_steps: how many constants c are tried for an image.
        steps: Adam steps for each c, at most.
        step_size: of Adam, in units of w = atanh of the pixel.
        initial_constant: the first c, which grows tenfold until it succeeds.
        abort_early: leave a c when a twentieth of the steps gained less than 1 %, and the first c
            that succeeds at once.
        levels: judge images rounded to so many pixel values, 256 for 8 bits, and return those.
        start: (N, C, H, W), where the search begins; at the image itself by default.
        bounds: the box of valid pixels.

    The nearest success of all steps is kept, image by image; each image has its own c, progress
    and end, so that its result does not depend on the batch. Beside the authors' code: a new c
    goes on from the best image found, or from where the last c failed, and not from the clean
    one; whether c succeeds is read off the last steps; a success must outlast rounding errors of
    the logits. With `levels` the objective and its gradient are taken at the rounded image, which
    spares the paper's greedy search of the lattice (§V-D). A step costs one pass and one gradient.
    Where no image reaches κ the clean one is returned. Raises ValueError or TypeError naming the
    argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.carlini_wagner_l2(model, digits.images, digits.labels, steps=50)
    >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
    True
    """
    check_options(confidence, steps, step_size, initial_constant, levels)
    check_count("binary_search_steps", binary_search_steps)
    with posed(model, images, labels, targets, bounds) as problem:
        found = Nearest(problem, confidence)
        begin = problem.images if start is None else _checked(start, problem)
        descent = TanhAdam(begin[found.places], bounds, step_size, levels)
        constants = _Constants(found.sizes, initial_constant, binary_search_steps)
        progress = Progress(found.sizes, steps, gain=0.01 if abort_early else None)
        _search(found, descent, constants, progress, hasty=abort_early and start is None)
        return found.finish()


def _search(
    found: Nearest, descent: TanhAdam, constants: _Constants, progress: Progress, hasty: bool
) -> None:
    while len(found.places):
        images = descent.images()
        slopes, margins = found.ask(images)
        moved = images - found.clean
        sizes = moved.square().flatten(1).sum(dim=1)
        reached = found.offer(images, margins, sizes)
        descent.step(2 * moved - column(constants.values * ~reached) * slopes)
        objective = sizes + constants.values * found.lacking(margins)
        ended = progress.ended(objective, reached, descent.counts)
        if hasty:
            ended |= reached & constants.unsettled
        if ended.any():
            begin = torch.where(column(found.sizes.isfinite()), found.best, images)
            descent.restart(ended, begin[ended])
            going = constants.replace(ended, progress.lately)
            for part in (found, descent, constants, progress):
                part.keep(going)


class _Constants(PerImage):
    """The constant c (N,) of each image: tenfold until one succeeds, then between the nearest."""

    def __init__(self, like: Tensor, initial: float, rounds: int) -> None:
        self.values = torch.full_like(like, initial)
        self._rounds, self._tried = rounds, torch.zeros_like(like, dtype=torch.int64)
        self._lower, self._upper = torch.zeros_like(like), torch.full_like(like, torch.inf)

    @property
    def unsettled(self) -> Tensor:
        """(N,) bool: no constant has succeeded yet."""
        return self._upper.isinf()

    def replace(self, ended: Tensor, succeeded: Tensor) -> Tensor:
        """A new constant for those that ended with theirs; (N,) bool: which have one left to try.

        ended, succeeded: (N,) bool.
        """
        self._upper = torch.where(ended & succeeded, self.values, self._upper)
        self._lower = torch.where(ended & ~succeeded, self.values, self._lower)
        between = (self._lower + self._upper) / 2
        following = torch.where(self._upper.isinf(), 10 * self.values, between)
        self.values = torch.where(ended, following, self.values)
        self._tried += ended
        return self._tried < self._rounds


def _checked(start: Tensor, problem: Problem) -> Tensor:
    if start.shape != problem.images.shape:
        raise ValueError(
            f"start must have the shape of images {tuple(problem.images.shape)}, "
            f"got {tuple(start.shape)}"
        )
    if not torch.equal(problem.bounds.clip(start), start):
        raise ValueError(
            f"start must lie in [{problem.bounds.lower}, {problem.bounds.upper}], "
            f"got values in [{start.min():g}, {start.max():g}]"
        )
    return start.to(problem.images)
