"""The Carlini–Wagner attack in L0: descend in L2, fix the pixels that help least, and again.

Carlini and Wagner 2017, §VI-B.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.margins import log_odds, margin
from armsrace.attacks.nearest import Nearest, check_options
from armsrace.attacks.norms import column, distances
from armsrace.attacks.problem import posed
from armsrace.attacks.progress import PerImage, Progress
from armsrace.attacks.tanh_adam import TanhAdam
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least


def carlini_wagner_l0(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    confidence: float = 0.0,
    steps: int = 50,
    step_size: float = 0.02,
    initial_constant: float = 1.0,
    largest_constant: float = 1e3,
    drop: float = 0.3,
    levels: int | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Descends in L2 until adversarial, then fixes the pixels of least g · δ at their clean value.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead.
        steps: Adam steps for each set of pixels and each c, at most.
        step_size: of Adam, in units of w = atanh of the pixel.
        initial_constant: the first c, which grows tenfold where it fails.
        largest_constant: no c above it is tried.
        drop: the fraction of the changed pixels that is fixed at a time.
        levels: judge images rounded to so many pixel values, 256 for 8 bits, and return those.
        bounds: the box of valid pixels.

    g is the gradient at the adversarial image and δ the perturbation; g · δ, added over channels,
    is what a pixel contributes, and a pixel counts with all its channels. The search goes on from
    the last success and with its c. The paper fixes one pixel at a time, its code a few; here a
    set that proves too large is put back and half of it tried, so that in the end, too, no c
    succeeds once the least pixel is fixed. c grows tenfold from 1 to 1e3, in their code by doubling
    from 1e-3 to 2e6, and a set of pixels gets 50 bold steps for their 1000. g is that of the log
    odds: the margin has a kink wherever two classes change places, between which few pixels cannot
    pass. A change of less than 1/512 of the box, which 8 bits would lose, is none. A step costs one
    pass and one gradient. Where no image reaches κ the clean one is returned. Raises ValueError or
    TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.carlini_wagner_l0(model, digits.images, digits.labels)
    >>> found.success.all(), evaluation.median_distance(digits.images, found, "l0") < 50
    (tensor(True), True)
    """
    check_options(confidence, steps, step_size, initial_constant, levels)
    check_at_least("largest_constant", largest_constant, initial_constant)
    if not 0 < drop < 1:
        raise ValueError(f"drop must be > 0 and < 1, got {drop}")
    with posed(model, images, labels, targets, bounds) as problem:
        found = Nearest(problem, confidence)
        descent = TanhAdam(found.clean, bounds, step_size, levels)
        pixels = _Pixels(found.clean, drop, initial_constant, largest_constant)
        least = (bounds.upper - bounds.lower) / 512
        _search(found, descent, pixels, Progress(found.sizes, steps, gain=None), least)
        return found.finish()


def _search(
    found: Nearest, descent: TanhAdam, pixels: _Pixels, progress: Progress, least: float
) -> None:
    while len(found.places):
        images = descent.images()
        moved = (images - found.clean).abs().amax(dim=1, keepdim=True) >= least
        images = torch.where(pixels.free & moved, images, found.clean)
        slopes, margins = found.ask(images, _smooth_margin)
        change = images - found.clean
        reached = found.offer(images, margins, distances(change, "l0"))
        pull = column(pixels.constants * ~reached) * slopes
        descent.step((2 * change - pull) * pixels.free)
        stuck = progress.ended(margins, reached, descent.counts) & ~reached
        if (reached | stuck).any():
            raised, going = pixels.replace(reached, stuck, (slopes * change).sum(dim=1), change)
            begin = torch.where(column(reached | raised), images, found.best)
            descent.restart(reached | stuck, begin[reached | stuck])
            for part in (found, descent, pixels, progress):
                part.keep(going)


def _smooth_margin(logits: Tensor, classes: Tensor) -> Tensor:
    """The margin (N,), with the gradient of the log odds."""
    smooth = log_odds(logits, classes)
    return smooth + (margin(logits, classes) - smooth).detach()


class _Pixels(PerImage):
    """Which pixels (N, 1, H, W) of each image are free to move, and its constant c (N,)."""

    def __init__(self, clean: Tensor, drop: float, constant: float, largest: float) -> None:
        self.free = torch.ones_like(clean[:, :1], dtype=torch.bool)
        self.constants = torch.full_like(clean[:, 0, 0, 0], constant)
        self._succeeded = self.constants
        # What each pixel contributed to the last success; infinite where it took no part.
        self._shares = torch.full_like(clean[:, 0], torch.inf)
        count = clean.shape[2] * clean.shape[3]
        self._fixed = torch.full_like(self.constants, count, dtype=torch.int64)
        self._drop, self._largest = drop, largest

    def replace(
        self, reached: Tensor, stuck: Tensor, shares: Tensor, change: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fix pixels of those that succeeded, and fewer than last time of those that failed.

        reached, stuck: (N,) bool; shares (N, H, W): what each pixel contributes; change: the
        perturbations (N, C, H, W). Returns (N,) bool: has a greater constant, and goes on.
        """
        raised = stuck & (10 * self.constants <= self._largest)
        failed = stuck & ~raised
        part = shares.masked_fill(~(change != 0).any(dim=1), torch.inf)
        self._shares = torch.where(reached.view(-1, 1, 1), part, self._shares)
        self._succeeded = torch.where(reached, self.constants, self._succeeded)
        constants = torch.where(raised, 10 * self.constants, self.constants)
        self.constants = torch.where(failed, self._succeeded, constants)
        left = self._shares.isfinite().flatten(1).sum(dim=1)
        hopeless = (failed & ((self._fixed <= 1) | (left == 0))) | (reached & (left <= 1))
        most = torch.minimum(self._fixed, (self._drop * left).ceil().long())
        self._fixed = torch.where(reached, most, torch.where(failed, self._fixed // 2, self._fixed))
        ranks = self._shares.flatten(1).argsort(dim=1).argsort(dim=1).view_as(self._shares)
        kept = self._shares.isfinite() & (ranks >= self._fixed.view(-1, 1, 1))
        self.free = torch.where(column(reached | failed), kept[:, None], self.free)
        return raised, ~hopeless
