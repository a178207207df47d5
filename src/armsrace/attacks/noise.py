"""Noise as an attack: how much of it a model bears (Schott et al. 2019, §4).

No gradient, no aim: what noise finds is an upper bound on robustness that costs nothing to have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from armsrace.attacks.noise_search import Effort, Noise, nearest
from armsrace.attacks.problem import posed
from armsrace.attacks.randomness import Keys
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, Norm, check_choice


def salt_and_pepper(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l0",
    repeats: int = 100,
    levels: int = 20,
    binary_search_steps: int = 6,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: Generator | None = None,
) -> AttackResult:
    """The fewest random pixels set to black or white that fool the model.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l0" or "l2", in which the nearest of the noisy images is kept.
        repeats: independent draws of the noise.
        levels: steps of the grid that the first draws climb until one fools; the level is the
            chance of a pixel, with all its channels, to be set.
        binary_search_steps: how often a draw that fools is made weaker or stronger by bisection.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels; its two ends are pepper and salt.
        generator: where the draws come from; a new one seeded 0 by default.

    Minimal norm, no gradients, at most 2 + repeats · (1 + binary_search_steps) queries. After a
    success each new draw is tried a little below the best level so far, once; where it is no nearer
    the model is not asked. The paper's library climbs a fixed grid with new noise at each level.
    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.salt_and_pepper(model, digits.images, digits.labels, repeats=5)
    >>> found.queries.max() <= 2 + 5 * 7, found.gradients.sum()
    (tensor(True), tensor(0))
    """
    check_choice("norm", norm, ("l0", "l2"))

    def draw(keys: Keys, shape: Sequence[int], draws: Generator) -> Tensor:
        return keys.uniform((1, *shape[1:]), draws)

    def add(clean: Tensor, numbers: Tensor, level: Tensor) -> Tensor:
        salted = torch.where(numbers >= 1 - level / 2, bounds.upper, clean)
        return torch.where(numbers < level / 2, bounds.lower, salted)

    effort = Effort(repeats, levels, binary_search_steps)
    with posed(model, images, labels, targets, bounds) as problem:
        return nearest(problem, Noise(draw, add), norm, effort, generator)


def gaussian_noise(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    repeats: int = 100,
    levels: int = 20,
    binary_search_steps: int = 6,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: Generator | None = None,
) -> AttackResult:
    """The least Gaussian noise, clipped to the box, that fools the model; nearest in L2.

    The level is the standard deviation, up to the width of the box. Arguments, shapes, counts and
    errors are otherwise those of `salt_and_pepper`.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.gaussian_noise(model, digits.images, digits.labels, repeats=5)
    >>> found.queries.max() <= 2 + 5 * 7, found.gradients.sum()
    (tensor(True), tensor(0))
    """
    effort, noise = Effort(repeats, levels, binary_search_steps), _added(Keys.normal, bounds)
    with posed(model, images, labels, targets, bounds) as problem:
        return nearest(problem, noise, "l2", effort, generator)


def uniform_noise(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    repeats: int = 100,
    levels: int = 20,
    binary_search_steps: int = 6,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: Generator | None = None,
) -> AttackResult:
    """The least uniform noise, clipped to the box, that fools the model; nearest in L∞.

    The level is the greatest change of a pixel, up to the width of the box. Arguments, shapes,
    counts and errors are otherwise those of `salt_and_pepper`.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.uniform_noise(model, digits.images, digits.labels, repeats=5)
    >>> found.queries.max() <= 2 + 5 * 7, found.gradients.sum()
    (tensor(True), tensor(0))
    """
    effort, noise = Effort(repeats, levels, binary_search_steps), _added(_centered, bounds)
    with posed(model, images, labels, targets, bounds) as problem:
        return nearest(problem, noise, "linf", effort, generator)


def _centered(keys: Keys, shape: Sequence[int], generator: Generator) -> Tensor:
    return 2 * keys.uniform(shape, generator) - 1


def _added(numbers: Callable[[Keys, Sequence[int], Generator], Tensor], bounds: Bounds) -> Noise:
    def add(clean: Tensor, draws: Tensor, level: Tensor) -> Tensor:
        return bounds.clip(clean + level * (bounds.upper - bounds.lower) * draws)

    return Noise(numbers, add)
