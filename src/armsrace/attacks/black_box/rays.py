"""RayS: a search over rays toward corners of the box, on decisions alone, in L∞.

Chen and Gu 2020, Algorithms 1 to 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context
from armsrace.attacks.black_box.starting_points import noise
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_count,
    query_limit,
)
from armsrace.norms import batch_view
from armsrace.randomness import Keys, default_generator

START_LEVELS = 5
"""Corners with blocks of all values, of a half, …, of a sixteenth: the authors' first 31."""


def rays(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    queries: int = 5000,
    tolerance: float = 1e-3,
    tries: int = 50,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Flip signs in a direction of {−1, 1}^d, by ever smaller blocks, where that comes nearer.

    The image x + r d, clipped to the box, is adversarial beyond some radius r. A direction with a
    block of signs flipped is asked at the best radius so far. Where it is adversarial there, too,
    its own radius is bisected, and it becomes the best. Blocks are first the whole image, then
    its halves, quarters and so on.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        queries: forward passes per image at most, at least 3.
        tolerance: the length of the interval at which a bisection ends, as L2 distance in units of
            the box's width, like the authors': so L∞ is exact to this divided by √d.
        tries: images of noise at most, in search of a first direction, where no image of black
            and white blocks is adversarial.
        targets: (N,) int64 wanted classes; noise is seldom classified as one of them.
        bounds: the box of valid pixels.
        generator: source of the noise; a new one seeded 0 by default.

    Returns:
        The adversarial image of the smallest radius; the clean image where no ray is adversarial.

    Differences from the paper:
        * Where none of the first 31 corners is adversarial, we try salt-and-pepper noise. Theirs
          goes on flipping ever smaller blocks of the white image.
        * A new direction is asked at the best radius less the tolerance. At the radius itself,
          bisections would be spent on directions that are as near.
        * A search ends when flipping each single value in turn has gained nothing.

    Cost:
        One forward pass per direction, and about log₂(r √d / tolerance) more for each that is
        nearer. No gradients.

    References:
        Chen and Gu 2020, "RayS: a ray searching method for hard-label adversarial attack",
        Algorithm 2 (hierarchical search) and Algorithm 3 (binary search).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.rays(model, digits.images, digits.labels, queries=500)
        >>> evaluation.median_distance(digits.images, found, "linf") < 0.1
        True
    """
    limit = query_limit(queries)
    check_at_least("tolerance", tolerance, 1e-6)
    check_count("tries", tries)
    checked = attack_context(model, images, labels, targets, bounds, decisions=True)
    with checked as context, torch.no_grad():
        generator = default_generator(generator)
        best_adv, used = context.images.clone(), torch.ones_like(context.labels)
        active = (~context.is_adversarial(context.logits(best_adv))).nonzero()[:, 0]
        if len(active) > 0:
            part, keys = context.select(active), Keys(best_adv)[active]
            corners, found, tried = _corners(part, keys, tries, limit - 2, generator)
            used[active] += tried
            active = active[found]
        if len(active) > 0:
            search = _RaySearch(part.select(found), corners[found], tolerance)
            while len(active) > 0:
                active_left = (used[active] < limit - 1) & ~search.ended
                search.select(active_left)
                active = active[active_left]
                if len(active) == 0:
                    break
                search.ask()
                used[active] += 1
                best_adv[active] = search.best_adv
        return context.minimal_result(best_adv, used, torch.zeros_like(used))


def _corners(
    context: AttackContext, keys: Keys, tries: int, limit: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Adversarial corners of the box (N, C, H, W), found (N,) bool, queries (N,) up to a limit.

    The white image with ever smaller blocks of it black, from all of it down to a sixteenth. Then
    salt and pepper, which is a corner, too.
    """
    corners, queries = context.images.clone(), torch.zeros_like(context.labels)
    active, d = torch.arange(len(corners), device=corners.device), corners[0].numel()
    for size in [-(-d // 2**level) for level in range(START_LEVELS)]:
        for begin in range(0, d, size):
            if len(active) == 0 or limit <= 0:
                break
            part = context.select(active)
            values = torch.full_like(part.images.flatten(1), context.bounds.upper)
            values[:, begin : begin + size] = context.bounds.lower
            corner = values.view_as(part.images)
            is_adversarial = part.is_adversarial(part.logits(corner))
            queries[active] += 1
            corners[active[is_adversarial]] = corner[is_adversarial]
            active, limit = active[~is_adversarial], limit - 1
    found = torch.ones_like(context.labels, dtype=torch.bool)
    if len(active) > 0:
        corners[active], found[active], tried = noise(
            context.select(active), keys[active], int(min(tries, limit)), generator
        )
        queries[active] += tried
    return corners, found, queries


class _RaySearch(PerImage):
    """The state of the images under search.

    signs, trial (M, d): the best direction so far, and the one that is asked about. radius, low
    (M,): the best radius so far, which is adversarial, and one that is not, below it. bisecting
    (M,): whether the trial is adversarial at the radius, and the interval is still too long.
    """

    def __init__(self, context: AttackContext, corners: Tensor, tolerance: float) -> None:
        bounds = context.bounds
        self.context, self.best_adv = context, corners
        middle = (bounds.lower + bounds.upper) / 2
        self.signs = torch.where(corners > middle, 1, -1).to(corners).flatten(1)
        self.trial, (count, self.d) = self.signs, self.signs.shape
        # Half precision is too coarse for a radius.
        wide = torch.promote_types(corners.dtype, torch.float32)
        self.width = bounds.width
        self.radius = torch.full((count,), self.width, dtype=wide, device=corners.device)
        self.low = torch.zeros_like(self.radius)
        self.tolerance = max(tolerance / math.sqrt(self.d), 4 * torch.finfo(wide).eps) * self.width
        self.bisecting = torch.ones_like(context.labels, dtype=torch.bool)
        self.level, self.block = torch.zeros_like(context.labels), torch.zeros_like(context.labels)
        self.gained, self.ended = torch.zeros_like(self.bisecting), torch.zeros_like(self.bisecting)

    def select(self, active: Tensor) -> None:
        """Keep the images chosen by a bool mask (M,)."""
        super().select(active)
        self.context = self.context.select(active)

    def ask(self) -> None:
        """One query: the middle of the interval, or a new direction just below the best radius."""
        x = self.context.images
        asked = torch.where(
            self.bisecting, (self.low + self.radius) / 2, self.radius - self.tolerance
        )
        step = batch_view(asked) * self.trial.view_as(x)
        candidates = self.context.bounds.clip(x + step).to(x.dtype)
        is_adversarial = self.context.is_adversarial(self.context.logits(candidates))
        self.best_adv = torch.where(batch_view(is_adversarial), candidates, self.best_adv)
        self.signs = torch.where(is_adversarial[:, None], self.trial, self.signs)
        self.radius = torch.where(is_adversarial, asked, self.radius)
        below = torch.where(is_adversarial, self.low, asked)
        self.low = torch.where(self.bisecting, below, 0)
        self.gained |= is_adversarial
        self.bisecting = (self.bisecting | is_adversarial) & (
            self.radius - self.low > self.tolerance
        )
        self._next_block(~self.bisecting)

    def _next_block(self, which: Tensor) -> None:
        """The trial is the best direction with the next block flipped, where `which` (M,)."""
        size = -(-self.d // 2**self.level)
        begin = self.block * size
        position = torch.arange(self.d, device=size.device)
        flipped = (position >= begin[:, None]) & (position < (begin + size)[:, None])
        trial = torch.where(flipped, -self.signs, self.signs)
        self.trial = torch.where(which[:, None], trial, self.trial)
        # Past the last block comes the next level; single values again and again while they gain.
        last = which & (begin + size >= self.d)
        self.ended |= last & (size == 1) & ~self.gained
        self.gained &= ~last
        self.level += last & (size > 1)
        self.block = torch.where(last, 0, self.block + which.long())
