"""Noise as an attack: the least of it that fools a model (Schott et al. 2019, §4).

Noise has no gradient and no direction. What it finds is a cheap upper bound on the robustness of a
model, and a check that an attack with a direction does better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_choice,
    check_count,
    query_limit,
)
from armsrace.norms import batch_view, distances
from armsrace.randomness import Keys, default_generator

# After a success, each new draw is first tried at this fraction of the best level so far.
NEXT_LEVEL = 0.98

_Draw = Callable[[Keys, Sequence[int], Generator], Tensor]
"""Keys of N images and the shape (C, H, W) of one -> noise (N, …), one draw per image."""
_Add = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images (N, C, H, W), their noise, levels (N, 1, 1, 1) in [0, 1] -> noisy images.

A higher level never brings a pixel closer to the clean image: so one draw can be bisected.
"""


def salt_and_pepper(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l0",
    repeats: int = 100,
    levels: int = 20,
    binary_search_steps: int = 6,
    queries: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: Generator | None = None,
) -> AttackResult:
    """The fewest random pixels set to black or white that fool the model.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l0" or "l2", the norm in which the nearest noisy image is kept.
        repeats: independent draws of the noise.
        levels: the number of steps of the grid that the first draws climb until one succeeds. The
            level is the probability that a pixel, with all its channels, is set.
        binary_search_steps: bisections of the level after a draw has succeeded.
        queries: forward passes per image at most, at least 3; no limit by default.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels; its two ends are pepper and salt.
        generator: the source of the draws; a new one seeded 0 by default.

    Returns:
        The nearest adversarial image of all draws, per image; the clean image where none was found.

    Differences from the paper:
        * The paper's library climbs a fixed grid of levels, with new noise at each. Here one draw
          is made stronger and weaker, and after a success each new draw is first tried slightly
          below the best level so far.

    Cost:
        At most 2 + repeats · (1 + binary_search_steps) forward passes per image, no backward pass.
        A noisy image that is no nearer than the best so far is not sent to the model.

    References:
        Schott, Rauber, Bethge and Brendel 2019, "Towards the first adversarially robust neural
        network model on MNIST", §4.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.salt_and_pepper(model, digits.images, digits.labels, repeats=5)
        >>> found.queries.max() <= 2 + 5 * 7, found.gradients.sum()
        (tensor(True), tensor(0))
    """
    check_choice("norm", norm, ("l0", "l2"))

    def set_pixels(images: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        salted = torch.where(noise >= 1 - level / 2, bounds.upper, images)
        return torch.where(noise < level / 2, bounds.lower, salted)

    return _minimal_noise(
        model, images, labels, targets, bounds, norm, _one_number_per_pixel, set_pixels, repeats,
        levels, binary_search_steps, queries, generator,
    )  # fmt: skip


def gaussian_noise(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    repeats: int = 100,
    levels: int = 20,
    binary_search_steps: int = 6,
    queries: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: Generator | None = None,
) -> AttackResult:
    """The least Gaussian noise that fools the model, nearest in L2.

    The level is the standard deviation, up to the width of the box. Noisy images are clipped to
    the box.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        repeats: independent draws of the noise.
        levels: the number of steps of the grid that the first draws climb until one succeeds.
        binary_search_steps: bisections of the level after a draw has succeeded.
        queries: forward passes per image at most, at least 3; no limit by default.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.
        generator: the source of the draws; a new one seeded 0 by default.

    Returns:
        As `salt_and_pepper`.

    Differences from the paper:
        * As `salt_and_pepper`.

    Cost:
        As `salt_and_pepper`.

    References:
        Schott, Rauber, Bethge and Brendel 2019, §4.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.gaussian_noise(model, digits.images, digits.labels, repeats=5)
        >>> found.queries.max() <= 2 + 5 * 7, found.gradients.sum()
        (tensor(True), tensor(0))
    """
    return _minimal_noise(
        model, images, labels, targets, bounds, "l2", Keys.normal, _additive(bounds), repeats,
        levels, binary_search_steps, queries, generator,
    )  # fmt: skip


def uniform_noise(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    repeats: int = 100,
    levels: int = 20,
    binary_search_steps: int = 6,
    queries: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: Generator | None = None,
) -> AttackResult:
    """The least uniform noise that fools the model, nearest in L∞.

    The level is the largest possible change of a pixel, up to the width of the box. Noisy images
    are clipped to the box.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        repeats: independent draws of the noise.
        levels: the number of steps of the grid that the first draws climb until one succeeds.
        binary_search_steps: bisections of the level after a draw has succeeded.
        queries: forward passes per image at most, at least 3; no limit by default.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.
        generator: the source of the draws; a new one seeded 0 by default.

    Returns:
        As `salt_and_pepper`.

    Differences from the paper:
        * As `salt_and_pepper`.

    Cost:
        As `salt_and_pepper`.

    References:
        Schott, Rauber, Bethge and Brendel 2019, §4.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.uniform_noise(model, digits.images, digits.labels, repeats=5)
        >>> found.queries.max() <= 2 + 5 * 7, found.gradients.sum()
        (tensor(True), tensor(0))
    """
    return _minimal_noise(
        model, images, labels, targets, bounds, "linf", _uniform_around_zero, _additive(bounds),
        repeats, levels, binary_search_steps, queries, generator,
    )  # fmt: skip


def _one_number_per_pixel(keys: Keys, shape: Sequence[int], generator: Generator) -> Tensor:
    """(N, 1, H, W) uniform on [0, 1): the channels of a pixel are set together."""
    return keys.uniform((1, *shape[1:]), generator)


def _uniform_around_zero(keys: Keys, shape: Sequence[int], generator: Generator) -> Tensor:
    """(N, C, H, W) uniform on [−1, 1)."""
    return 2 * keys.uniform(shape, generator) - 1


def _additive(bounds: Bounds) -> _Add:
    """Noise scaled by the level and the width of the box, added, and clipped."""

    def add(images: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        return bounds.clip(images + level * bounds.width * noise)

    return add


def _minimal_noise(
    model: Model, images: Tensor, labels: Tensor, targets: Tensor | None, bounds: Bounds,
    norm: Norm, draw: _Draw, add: _Add, repeats: int, levels: int, binary_search_steps: int,
    queries: int | None, generator: Generator | None,
) -> AttackResult:  # fmt: skip
    """The search that all kinds of noise share: draw, find an adversarial level, bisect it."""
    check_count("repeats", repeats)
    check_count("levels", levels)
    check_count("binary_search_steps", binary_search_steps, 0)
    limit = query_limit(queries)
    generator = default_generator(generator)
    checked = attack_context(model, images, labels, targets, bounds, decisions=True)
    with checked as context, torch.no_grad():
        best, keys = _BestNoisy(context, add, norm, limit), Keys(context.images)
        for repeat in range(repeats):
            noise = draw(keys, context.images.shape[1:], generator)
            grid = (repeat % levels + 1) / levels
            level = torch.where(best.level.isinf(), grid, NEXT_LEVEL * best.level)
            active = (best.distance > 0).nonzero()[:, 0]
            active = active[best.update(noise, level, active)]
            width = level.clone()
            for _ in range(binary_search_steps):
                width /= 2
                level -= width
                level[active] += width[active] * ~best.update(noise, level, active)
        return context.minimal_result(best.adv, best.queries, torch.zeros_like(best.queries))


class _BestNoisy:
    """The nearest adversarial image so far, its level and distance, and the queries, per image."""

    def __init__(self, context: AttackContext, add: _Add, norm: Norm, limit: float) -> None:
        self._context, self._add, self._norm, self._limit = context, add, norm, limit
        self.adv, self.queries = context.images.clone(), torch.ones_like(context.labels)
        is_adversarial = context.is_adversarial(context.logits(context.images))
        self.distance = torch.where(is_adversarial, 0.0, torch.inf).to(self.adv.dtype)
        self.level = torch.full_like(self.distance, torch.inf)

    def update(self, noise: Tensor, level: Tensor, active: Tensor) -> Tensor:
        """Try the active images (indices (M,)) at their levels; (M,) bool: nearer and adversarial.

        Only those that are nearer than the best so far are sent to the model, and only while the
        queries last.
        """
        clean = self._context.images[active]
        noisy = self._add(clean, noise[active], batch_view(level[active]))
        distance = distances(noisy - clean, self._norm)
        improved = distance < self.distance[active]
        improved &= self.queries[active] < self._limit - 1  # one is for the verdict
        nearer = active[improved]
        if len(nearer) > 0:
            part = self._context.select(nearer)
            self.queries[nearer] += 1
            improved[improved.clone()] = part.is_adversarial(part.logits(noisy[improved]))
            better = active[improved]
            self.adv[better], self.distance[better] = noisy[improved], distance[improved]
            self.level[better] = level[better]
        return improved
