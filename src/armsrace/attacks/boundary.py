"""The boundary attack: a random walk along the decision boundary, on decisions alone.

Brendel, Rauber and Bethge 2018, Algorithm 1 and §2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import Keys, default_generator
from armsrace.attacks.starts import check_start, given, halved, noise
from armsrace.attacks.walk import Walk
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_count,
)

HALVINGS = 10  # of the line from the image to the start: a thousandth of it is left
CHECKED = 10  # every so many steps the sphere is tried without the step to the image
Watch = Callable[[int, Tensor, Tensor], object]
CONVERGED = 1e-7  # of the distance: a shorter step to the source is below float32's resolution


def boundary(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 5000,
    spherical_step: float = 0.2,
    source_step: float = 0.01,
    tries: int = 50,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
    watch: Watch | None = None,
) -> AttackResult:
    """From an adversarial image towards the clean one, by random steps that stay adversarial (L2).

    Args:
        model: images to logits (N, K); only the greatest is looked at.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        steps: candidates an image; the paper takes 25,000 where it reports MNIST.
        spherical_step: the first step around the image, as a share of the distance to it. Too
            small a one cannot grow on a boundary that is rough at its scale, such as that of a
            network behind rounded pixels.
        source_step: the first step towards the image, as a share of that distance.
        tries: noise images at most, in search of an adversarial one to start from.
        start: (N, C, H, W), adversarial images to start from in place of noise.
        targets: (N,) int64 wanted classes; noise seldom is one, so give images of these classes
            as `start`.
        bounds: the box of valid pixels.
        generator: where noise and steps come from; a new one seeded 0 by default.
        watch: called as watch(step, images, queries) after each step, with where the walks stand
            (N, C, H, W) and the queries (N,) so far, until all have converged: what it sees is
            what runs of fewer steps would have given, for the price of one.

    A step moves at right angles to the source, back onto the sphere around it, then towards it. It
    costs one query; every tenth one more, for the sphere alone. Both sizes grow with each success
    and shrink with each failure, so that 40 % of the spheres and 20 % of the steps stay
    adversarial: the paper's local success rates, without their windows, which at 5,000 steps would
    move the sizes a handful of times. Noise is salt and pepper, with its own share of white each
    time: uniform noise is nearly always one class. The start is first halved towards the image.
    An image for which no noise is adversarial counts as failed. Raises ValueError or TypeError
    naming the argument and the rule it breaks, also where a `start` is not adversarial.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.boundary(model, digits.images, digits.labels, steps=100)
    >>> found.success.all(), found.gradients.sum()
    (tensor(True), tensor(0))
    """
    check_count("steps", steps)
    check_count("tries", tries)
    check_at_least("spherical_step", spherical_step, 0)
    check_at_least("source_step", source_step, 0)
    with posed(model, images, labels, targets, bounds) as problem, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        sizes, draws = (spherical_step, source_step), default_generator(generator)
        return _attack(problem, steps, sizes, tries, start, draws, watch)


def _attack(
    problem: Problem, steps: int, sizes: tuple[float, float], tries: int, start: Tensor | None,
    generator: torch.Generator, watch: Watch | None,
) -> AttackResult:  # fmt: skip
    found, asked = problem.images.clone(), torch.ones_like(problem.labels)
    left = (~problem.fooled(problem.logits(found))).nonzero()[:, 0]
    keys = Keys(found)[left]
    if start is None:
        begun, noisy, tried = noise(problem.subset(left), keys, tries, generator)
        asked[left] += tried
        begun, keys, left = begun[noisy], keys[noisy], left[noisy]
    elif len(left) > 0:
        begun = given(problem.subset(left), start[left].to(found))
        asked[left] += 1
    if len(left) > 0:
        part = problem.subset(left)
        begun = halved(part, begun, HALVINGS)
        asked[left] += HALVINGS

        def seen(step: int, images: Tensor, walked: Tensor) -> None:
            if watch is not None:
                stands, so_far = found.clone(), asked.clone()
                stands[left], so_far[left] = images, so_far[left] + walked
                watch(step, stands, so_far)

        found[left], walked = _walk(part, begun, keys, steps, sizes, generator, seen)
        asked[left] += walked
    return problem.finish_nearest(found, asked, torch.zeros_like(asked))


def _walk(
    problem: Problem, start: Tensor, keys: Keys, steps: int, sizes: tuple[float, float],
    generator: torch.Generator, seen: Watch,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    found, asked = start.clone(), torch.zeros_like(problem.labels)
    left = torch.arange(len(found), device=found.device)
    around, towards = (torch.full_like(found[:, 0, 0, 0], size) for size in sizes)
    walk = Walk(problem, keys, start, around, towards)
    for step in range(1, steps + 1):
        checked = step % CHECKED == 0
        walk = walk.step(generator, checked)
        asked[left] += 1 + checked
        found[left] = walk.current
        seen(step, found, asked)
        done = walk.towards < CONVERGED
        if done.any():
            walk, left = walk.subset(~done), left[~done]
            if len(left) == 0:
                break
    return found, asked
