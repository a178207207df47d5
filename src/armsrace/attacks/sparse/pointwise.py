"""The pointwise attack: from noise back to the clean image, pixel by pixel, on decisions alone.

Schott, Rauber, Bethge and Brendel 2019, §4 and appendix. A unit is what moves at once: a pixel with
its channels in L0, a single value in L2. Rows (M, C, H, W) are adversarial images that are searched
together, several per clean image; each stays adversarial.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context, check_start
from armsrace.attacks.black_box.noise import salt_and_pepper
from armsrace.attacks.black_box.starting_points import given
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

NOISE: dict[str, Any] = {"repeats": 20, "levels": 10, "binary_search_steps": 0}
"""How hard salt and pepper searches for each start: more would cost more than it saves."""
NOISE_QUERIES = 2 + NOISE["repeats"]
"""What a start costs at most: the clean image, the draws, the verdict."""
FIRST_BLOCK = 8
"""Units in the first block; later ones are as long as the row allows."""
MIN_FRACTION, BISECTIONS = 1 / 64, 6
"""The shortest move of a value, as a fraction of the way to its clean one, and bisections."""

NO_LIMIT = 2**62

Draw = Callable[[], Tensor]
"""Random numbers (M, 1 or C, H, W) in [0, 1), new ones at each call."""


def pointwise(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l0",
    restarts: int = 10,
    queries: int | None = None,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """The few pixels of a noisy image that must stay as they are for it to be adversarial.

    Pixels are reset to their clean values in random order, where the image stays adversarial, until
    no single pixel can be reset.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l0" counts pixels, and a pixel is reset with all its channels. "l2" resets single
            values, and then moves those of the nearest result as far toward the clean ones as
            it stays adversarial.
        restarts: searches per image, of which the nearest result is kept.
        queries: forward passes per image at most, at least 10. The searches of an image then take
            turns; in L2 all but the first leave half of the queries for moving single values. No
            limit by default.
        start: (N, C, H, W) adversarial images, where every search of an image begins; by default
            each begins at its own `salt_and_pepper` noise.
        targets: (N,) int64 wanted classes; noise seldom finds one, so give a start.
        bounds: the box of valid pixels.
        generator: source of noise and orders; a new one seeded 0 by default.

    Returns:
        The nearest adversarial images; the clean image where no noise is adversarial.

    Differences from the paper:
        * In the first pass we try whole blocks of pixels and halve those that cannot be reset,
          which takes fewer queries to the same kind of end.

    Cost:
        Forward passes only, only for images still under search.

    References:
        Schott, Rauber, Bethge and Brendel 2019, "Towards the first adversarially robust neural
        network model on MNIST", §4 and appendix.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.pointwise(model, digits.images, digits.labels, restarts=1)
        >>> evaluation.median_distance(digits.images, found, "l0") < 50
        True
    """
    check_choice("norm", norm, ("l0", "l2"))
    check_count("restarts", restarts)
    limit = query_limit(queries, 10)
    generator = default_generator(generator)
    checked = attack_context(model, images, labels, targets, bounds, decisions=True)
    with checked as context, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        best_adv, used = context.images.clone(), torch.ones_like(context.labels)
        active = (~context.is_adversarial(context.logits(best_adv))).nonzero()[:, 0]
        if len(active) > 0:
            part = context.select(active)
            given_start = None if start is None else start[active]
            best_adv[active], more = _search(
                part, given_start, norm, restarts, generator, limit - 2
            )
            used[active] += more
        return context.minimal_result(best_adv, used, torch.zeros_like(used))


def _search(
    context: AttackContext, start: Tensor | None, norm: Norm, restarts: int,
    generator: torch.Generator, limit: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The nearest image (N, C, H, W) of all restarts, and the queries (N,), up to a limit."""
    best_adv, used = context.images.clone(), torch.zeros_like(context.labels)
    best_distance = torch.full_like(best_adv[:, 0, 0, 0], torch.inf)
    units = (1 if norm == "l0" else best_adv.shape[1], *best_adv.shape[2:])
    # Orders are float64 whatever the images are, so that all dtypes get the same.
    keys = Keys(context.images.double())
    if start is not None:
        start = given(context, start.to(context.images))
        used += 1
    # All at once; but with a limit one after the other, so that the first ones come to their end.
    limited = limit < torch.inf
    together, stream = (1, _forked(generator)) if limited else (restarts, generator)
    for number in range(restarts // together):
        search_limit = limit if number == 0 or norm == "l0" else limit // 2
        left = search_limit - used
        going = left > 0 if start is not None else (left >= NOISE_QUERIES) | (used == 0)
        active = going.nonzero()[:, 0]
        if len(active) == 0:
            break
        given_start = None if start is None else start[active]
        noise_limit = int(search_limit) if limited else None
        rows, is_adversarial, queries = _starts(
            context.select(active), given_start, norm, together, stream, noise_limit
        )
        used[active] += queries
        # Each phase has its own stream, since the passes of the first one depend on the batch.
        numbers = partial(_numbers, keys, (together, *units), _forked(stream))
        found = is_adversarial.nonzero()[:, 0]
        image = active.repeat_interleave(together)[found]
        row = image * together + found % together
        part = context.select(image)
        rows[found], queries = reset(
            part, rows[found], partial(numbers, row), (search_limit - used)[image]
        )  # fmt: skip
        used = used.index_add(0, image, queries)
        distance = torch.full_like(is_adversarial, torch.inf, dtype=rows.dtype)
        distance[found] = distances(rows[found] - part.images, norm)
        distance, nearest = distance.view(-1, together).min(dim=1)
        nearer = distance < best_distance[active]
        best_distance[active[nearer]] = distance[nearer]
        rows = rows.unflatten(0, (-1, together))
        best_adv[active[nearer]] = rows[nearer, nearest[nearer]]
    shortening = _forked(generator)
    if norm == "l2":
        active = best_distance.isfinite().nonzero()[:, 0]
        best_adv[active], queries = _shorten(
            context.select(active), best_adv[active],
            lambda: keys.uniform(units, shortening)[active], (limit - used)[active],
        )  # fmt: skip
        used[active] += queries
    return best_adv, used


def _starts(
    context: AttackContext, start: Tensor | None, norm: Norm, restarts: int,
    generator: torch.Generator, limit: int | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Starts (N · restarts, C, H, W), image by image, which are adversarial, and queries (N,).

    start: (N, C, H, W), the caller's, which is adversarial; or None.
    """
    if start is not None:
        start = start.repeat_interleave(restarts, dim=0)
        is_adversarial = torch.ones_like(start[:, 0, 0, 0], dtype=torch.bool)
        return start, is_adversarial, torch.zeros_like(context.labels)
    noisy = [
        salt_and_pepper(
            context.model, context.images, context.labels, norm=norm, queries=limit,
            targets=context.targets, bounds=context.bounds, generator=generator, **NOISE,
        )
        for _ in range(restarts)
    ]  # fmt: skip
    images = torch.stack([one.images for one in noisy], dim=1).flatten(0, 1)
    is_adversarial = torch.stack([one.success for one in noisy], dim=1).flatten()
    return images, is_adversarial, torch.stack([one.queries for one in noisy]).sum(dim=0)


def _numbers(keys: Keys, shape: tuple[int, ...], generator: torch.Generator, row: Tensor) -> Tensor:
    """New numbers for some rows (M,) of all; shape: (restarts, 1 or C, H, W) of an image."""
    return keys.uniform(shape, generator).flatten(0, 1)[row]


def _forked(generator: torch.Generator) -> torch.Generator:
    """A new stream that follows from the generator's next draw."""
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(generator.device).manual_seed(int(seed))


def reset(
    context: AttackContext, rows: Tensor, draw: Draw, left: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Rows in which no single unit can be reset any more, and the queries (M,), `left` at most.

    The first pass tries blocks of units. Later ones try single units, until a whole pass resets
    nothing.
    """
    rows, queries = rows.clone(), torch.zeros_like(context.labels)
    left = torch.full_like(queries, NO_LIMIT) if left is None else left
    active, block = torch.arange(len(rows), device=rows.device), FIRST_BLOCK
    while len(active) > 0:
        part = context.select(active)
        order, counts = _shuffled(rows[active] != part.images, draw()[active])
        rows[active], changed, used = _reset_pass(
            part, rows[active], order, counts, block, (left - queries)[active]
        )
        queries[active] += used
        active, block = active[changed & (queries < left)[active]], 1
    return rows, queries


def _shuffled(differs: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The rank of each unit that differs in a random order, and how many there are (M,)."""
    if numbers.shape[1] == 1:
        differs = differs.any(dim=1, keepdim=True)
    last = numbers.masked_fill(~differs, 1.0).flatten(1).argsort(dim=1, stable=True)
    ranks = last.argsort(dim=1).to(torch.int32)  # half the memory to compare in each query
    return ranks.view_as(numbers), differs.flatten(1).sum(dim=1)


def _reset_pass(
    context: AttackContext, rows: Tensor, order: Tensor, counts: Tensor, block: int, left: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Each unit in its order, reset where the row stays adversarial; whether any; and queries.

    It ends when all units have been tried, or no queries are left (M,).

    A block that cannot be reset whole is halved until the first unit that must stay is found. What
    comes before this unit in the block has been reset by then.
    """
    begin, end, queries = (torch.zeros_like(counts) for _ in range(3))
    sizes, changed = torch.full_like(counts, block), torch.zeros_like(counts, dtype=torch.bool)
    active = ((counts > 0) & (left > 0)).nonzero()[:, 0]
    while len(active) > 0:
        start, stop, size = begin[active], end[active], sizes[active]
        halving = stop > start
        length = torch.where(halving, (stop - start) // 2, size.minimum(counts[active] - start))
        rank = order[active]
        chosen = (rank >= batch_view(start)) & (rank < batch_view(start + length))
        part = context.select(active)
        trial = torch.where(chosen, part.images, rows[active])
        is_adversarial = part.is_adversarial(part.logits(trial))
        queries[active] += 1
        rows[active[is_adversarial]] = trial[is_adversarial]
        changed[active] |= is_adversarial
        # Blocks grow after a success and shrink after a failure. Half of the answers are then
        # successes, which is when an answer tells most.
        next_size = torch.where(is_adversarial, 2 * size, (size // 2).clamp_min(1))
        sizes[active] = torch.where(halving, size, next_size)
        stop = torch.where(is_adversarial, stop, start + length)
        start = torch.where(is_adversarial, start + length, start)
        # In a block of one that cannot be reset, the unit stays.
        begin[active], end[active] = torch.where(stop - start == 1, stop, start), stop
        active = active[(begin < counts)[active] & (queries < left)[active]]
    return rows, changed, queries


def _shorten(
    context: AttackContext, rows: Tensor, draw: Draw, left: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows in which no unit can move 1/64 of its way to the clean one, and the queries (M,).

    left (M,): the most queries.
    """
    rows, queries = rows.clone(), torch.zeros_like(context.labels)
    active = (left > 0).nonzero()[:, 0]
    while len(active) > 0:
        part = context.select(active)
        order, counts = _shuffled(rows[active] != part.images, draw()[active])
        changed = torch.zeros_like(counts, dtype=torch.bool)
        for rank in range(int(counts.max())):
            some = ((counts > rank) & (queries < left)[active]).nonzero()[:, 0]
            if len(some) == 0:
                break
            unit, indices = order[some] == rank, active[some]
            rows[indices], nearer, used = _bisected(
                part.select(some), rows[indices], unit, (left - queries)[indices]
            )
            queries[indices] += used
            changed[some] |= nearer
        active = active[changed & (queries < left)[active]]
    return rows, queries


def _bisected(
    context: AttackContext, rows: Tensor, unit: Tensor, left: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The unit of each row as near to the clean one as is adversarial; whether nearer; queries."""
    nearest, direction = rows.clone(), torch.where(unit, context.images - rows, 0.0)
    best = torch.zeros_like(context.labels, dtype=rows.dtype)
    fraction, queries = torch.full_like(best, MIN_FRACTION), torch.zeros_like(context.labels)
    step, active = (1 - MIN_FRACTION) / 2, torch.arange(len(rows), device=rows.device)
    for _ in range(1 + BISECTIONS):
        part = context.select(active)
        move = batch_view(fraction[active]) * direction[active]
        trial = context.bounds.clip(rows[active] + move)
        is_adversarial = part.is_adversarial(part.logits(trial))
        queries[active] += 1
        succeeded = active[is_adversarial]
        nearest[succeeded], best[succeeded] = trial[is_adversarial], fraction[succeeded]
        # Where not even the shortest move succeeds there is nothing to bisect.
        active = active[((best > 0) & (queries < left))[active]]
        if len(active) == 0:
            break
        fraction[active], step = best[active] + step, step / 2
    return nearest, best > 0, queries
