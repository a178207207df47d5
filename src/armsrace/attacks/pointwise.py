"""The pointwise attack: from noise back to the clean image, pixel by pixel, on decisions alone.

Schott, Rauber, Bethge and Brendel 2019, §4 and appendix.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.noise import salt_and_pepper
from armsrace.attacks.norms import distances
from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import Keys, default_generator
from armsrace.attacks.resets import reset, shorten
from armsrace.attacks.starts import check_start, given
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_choice,
    check_count,
)

NOISE = {"repeats": 20, "levels": 10, "binary_search_steps": 0}
"""How hard salt and pepper searches for each start: more would cost more than it saves."""


def pointwise(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l0",
    restarts: int = 10,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """The few pixels of a noisy image that must stay as they are for it to fool the model.

    Args:
        model: images to logits (N, K), of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l0" counts pixels, and a pixel is reset with all its channels; "l2" resets single
            values, and at last moves those of the nearest result as far towards the clean ones as
            the model stays fooled.
        restarts: searches an image, of which the nearest result is kept.
        start: (N, C, H, W) adversarial images, where every search of an image begins; by default
            each begins at `salt_and_pepper` noise of its own, the least of a few draws.
        targets: (N,) int64 wanted classes; noise seldom finds one, so give a start.
        bounds: the box of valid pixels.
        generator: where noise and orders come from; a new one seeded 0 by default.

    Minimal norm, no gradients. Pixels are reset in random order until none can be reset alone, as
    in the paper. The first time around we ask for whole blocks and halve those that cannot be
    reset, which takes fewer queries to such an end. Raises ValueError or TypeError naming the
    argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.pointwise(model, digits.images, digits.labels, restarts=1)
    >>> evaluation.median_distance(digits.images, found, "l0") < 50
    True
    """
    check_choice("norm", norm, ("l0", "l2"))
    check_count("restarts", restarts)
    generator = default_generator(generator)
    with posed(model, images, labels, targets, bounds) as problem, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        found, queries = problem.images.clone(), torch.ones_like(problem.labels)
        left = (~problem.fooled(problem.logits(found))).nonzero()[:, 0]
        if len(left) > 0:
            part = problem.subset(left)
            kept = None if start is None else start[left]
            found[left], asked = _search(part, kept, norm, restarts, generator)
            queries[left] += asked
        return problem.finish_nearest(found, queries, torch.zeros_like(queries))


def _search(
    problem: Problem, start: Tensor | None, norm: Norm, restarts: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The nearest image (N, C, H, W) of all restarts, clean where none fools, and queries (N,)."""
    starts, fools, queries = _starts(problem, start, norm, restarts, generator)
    every = torch.arange(len(problem.images), device=starts.device)
    units = (1 if norm == "l0" else starts.shape[1], *starts.shape[2:])
    # Orders are float64 whatever the images are: both kinds meet the same.
    keys = Keys(problem.images.double())
    numbers = fools.nonzero()[:, 0]
    owners = every.repeat_interleave(restarts)[numbers]
    part = problem.subset(owners)
    # Each phase has a stream of its own, for how many passes the first takes depends on the batch.
    resetting, shortening = _forked(generator), _forked(generator)
    rows, asked = reset(
        part, starts[numbers],
        lambda: keys.uniform((restarts, *units), resetting).flatten(0, 1)[numbers],
    )  # fmt: skip
    queries = queries.index_add(0, owners, asked)
    away = torch.full_like(fools, torch.inf, dtype=rows.dtype)
    away[numbers], starts[numbers] = distances(rows - part.images, norm), rows
    best = every * restarts + away.view(-1, restarts).argmin(dim=1)
    found = starts[best]
    if norm == "l2":
        some = fools[best].nonzero()[:, 0]
        found[some], asked = shorten(
            problem.subset(some), found[some], lambda: keys.uniform(units, shortening)[some]
        )
        queries[some] += asked
    return found, queries


def _starts(
    problem: Problem, start: Tensor | None, norm: Norm, restarts: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Starts (N · restarts, C, H, W), image by image, whether each fools, and queries (N,)."""
    if start is not None:
        start = given(problem, start.to(problem.images)).repeat_interleave(restarts, dim=0)
        fools = torch.ones_like(start[:, 0, 0, 0], dtype=torch.bool)
        return start, fools, torch.ones_like(problem.labels)
    noisy = [
        salt_and_pepper(
            problem.model, problem.images, problem.labels, norm=norm, targets=problem.targets,
            bounds=problem.bounds, generator=generator, **NOISE,
        )
        for _ in range(restarts)
    ]  # fmt: skip
    images = torch.stack([one.images for one in noisy], dim=1).flatten(0, 1)
    fools = torch.stack([one.success for one in noisy], dim=1).flatten()
    return images, fools, torch.stack([one.queries for one in noisy]).sum(dim=0)


def _forked(generator: torch.Generator) -> torch.Generator:
    """A new stream that follows from the generator's next draw."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(generator.device).manual_seed(int(seed))
