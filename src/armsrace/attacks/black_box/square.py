"""Square attack: random search with squares of pixels, on scores alone, in L∞, L2 and L1.

Andriushchenko, Croce, Flammarion and Hein 2020, Algorithms 1 to 3; L1 after Croce and Hein 2021.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks.base import attack_context
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_choice,
    check_count,
    check_epsilon,
)
from armsrace.losses import cross_entropy, margin
from armsrace.norms import BUDGETED, distances, normalize, per_row, project_l1_box
from armsrace.randomness import Keys, default_generator

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 iterations: after each of these the fraction of pixels in a square is halved (§5.1)."""
STEPS_PER_DRAW = 64
"""Drawing the few numbers of one step would take longer than the step itself."""


def square(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    queries: int = 5000,
    norm: Norm = "linf",
    share: float = 0.8,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Random search: change a random square of pixels, and keep the change if the loss improves.

    Args:
        model: images to logits (N, K); only these scores are used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`; a tensor (N,) gives each image its own.
        queries: forward passes per image at most, at least 3: one is for the clean image, and one
            for the verdict.
        norm: "linf", "l2" or "l1".
        share: p, the fraction of the pixels that the first squares cover. It shrinks on the paper's
            schedule, scaled to `queries`. The paper takes 0.8 for robust MNIST networks, and 0.05
            (L∞) or 0.1 (L2) for standard ImageNet networks.
        targets: (N,) int64 wanted classes, whose cross-entropy decreases; else the margin loss.
        bounds: the box of valid pixels.
        generator: source of the squares; a new one seeded 0 by default.

    Returns:
        The first adversarial images, else those of the best loss. Unlike our gradient attacks of a
        fixed budget, this attack ends with the first success, since queries are its cost.

    Differences from the paper:
        * Squares may reach the last row and column.
        * A misclassified image is returned as it is.
        * Where the signs of an L∞ square change nothing, they are reversed. The paper draws them
          again until they change something.

    Cost:
        One forward pass per step, only for images still under search. No gradients.

    References:
        Andriushchenko, Croce, Flammarion and Hein 2020, "Square Attack: a query-efficient black-box
        adversarial attack via random search", Algorithms 1 to 3; §4.3 (L2), §5.1 (schedule). In L1:
        Croce and Hein 2021, "Mind the box: ℓ₁-APGD for sparse adversarial attacks on image
        classifiers", §4.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.square(model, digits.images, digits.labels, epsilon=0.3, queries=100)
        >>> found.queries.max() <= 100, found.gradients.sum()
        (tensor(True), tensor(0))
    """
    check_epsilon(epsilon)
    check_count("queries", queries, 3)
    check_choice("norm", norm, BUDGETED)
    if not 0 < share <= 1:
        raise ValueError(f"share must be > 0 and <= 1, got {share:g}")
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        loss = margin if targets is None else cross_entropy
        best_adv, used = context.images.clone(), torch.ones_like(context.labels)
        active = (~context.loss(best_adv, loss)[1]).nonzero()[:, 0]
        part, keys = context.select(active), Keys(best_adv)[active]
        x_adv, rounding = part.images.clone(), torch.finfo(best_adv.dtype).eps ** 0.75
        best_loss = torch.full_like(best_adv[active, 0, 0, 0], torch.finfo(best_adv.dtype).min)
        steps, draws = queries - 2, best_loss
        for step in range(steps):
            if len(active) == 0:
                break
            if step == 0:
                candidates = _initial(part.images, part.epsilon, norm, bounds, keys, generator)
            else:
                drawn = (step - 1) % STEPS_PER_DRAW
                if drawn == 0:
                    shape = ((2 if norm == "linf" else 5) + images.shape[1],)
                    draws = keys.uniform_calls(STEPS_PER_DRAW, shape, generator)
                fraction = fraction_at(step / steps, share)
                candidates = _sampled(
                    part.images, x_adv, fraction, part.epsilon, norm, bounds, draws[:, drawn]
                )
            candidates = part.within(candidates, norm)
            losses, is_adversarial = part.loss(candidates, loss)
            used[active] += 1
            # A square that no filter sees changes the loss by rounding, which depends on the batch.
            better = is_adversarial | (losses > best_loss + rounding * best_loss.abs())
            x_adv[better] = candidates[better]  # few: copying all would cost as much as the squares
            best_loss = torch.where(better, losses, best_loss)
            if is_adversarial.any():
                best_adv[active[is_adversarial]] = x_adv[is_adversarial]
                going = ~is_adversarial
                part, keys, active = part.select(going), keys[going], active[going]
                x_adv, best_loss = x_adv[going], best_loss[going]
                draws = draws[going]
        best_adv[active] = x_adv
        return context.result(best_adv, used, gradients=0)


def fraction_at(progress: float, share: float) -> float:
    """The fraction of pixels in a square when this fraction of the search is done (§5.1)."""
    return share / 2 ** bisect_left(HALVED_AFTER, int(1e4 * progress))


def side_of(fraction: float, image: Tensor, minimum: int = 1) -> int:
    """h, the side in pixels of squares that cover this fraction of an image."""
    height, width = image.shape[-2:]
    return min(max(round(math.sqrt(fraction * height * width)), minimum), height, width)


def _initial(
    x: Tensor, epsilon: float | Tensor, norm: Norm, bounds: Bounds, keys: Keys,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """The first candidates (N, C, H, W)."""
    channels, _, width = x.shape[1:]
    if norm == "linf":
        return stripes(x, epsilon, bounds, keys.uniform((channels, 1, width), generator))
    return bumps(x, epsilon, norm, bounds, keys.uniform((channels, 5, 5), generator))


def _sampled(
    x: Tensor, x_adv: Tensor, fraction: float, epsilon: float | Tensor, norm: Norm,
    bounds: Bounds, draws: Tensor,
) -> Tensor:  # fmt: skip
    """Candidates (N, C, H, W) that differ from x_adv in random squares."""
    if norm == "linf":
        return linf_square(x, x_adv, side_of(fraction, x), epsilon, bounds, draws)
    move = l2_square if norm == "l2" else l1_square
    return move(x, x_adv, side_of(fraction, x, 3), epsilon, bounds, draws)


# The moves take images (N, C, H, W) and draws (N, ·) uniform on [0, 1), so that the moves of an
# image depend on its own draws alone. They return images inside the budget and the box.


def stripes(x: Tensor, epsilon: float | Tensor, bounds: Bounds, draws: Tensor) -> Tensor:
    """Each column of each channel moves up or down by epsilon; draws (N, C, 1, W)."""
    return bounds.clip(x + epsilon * _signs(draws))


def linf_square(
    x: Tensor, x_adv: Tensor, h: int, epsilon: float | Tensor, bounds: Bounds, draws: Tensor
) -> Tensor:
    """One square of x ± epsilon, with one sign per channel (Algorithm 2); draws (N, 2 + C).

    Where that changes nothing the signs are reversed.
    """
    window = _window(_corners(draws[:, :2], h, x), h, x)
    clean, current = _inside(x, window), _inside(x_adv, window)
    size = epsilon.flatten(2) if isinstance(epsilon, Tensor) else epsilon
    step = size * _signs(draws[:, 2:, None])
    unchanged = (bounds.clip(clean + step) == current).flatten(1).all(dim=1)
    step = torch.where(unchanged[:, None, None], -step, step)
    candidates = x_adv.clone(memory_format=torch.contiguous_format)
    _write(candidates, window, bounds.clip(clean + step))
    return candidates


def bumps(x: Tensor, epsilon: float | Tensor, norm: Norm, bounds: Bounds, draws: Tensor) -> Tensor:
    """A grid of five by five double bumps of length epsilon; draws (N, C, 5, 5) give the signs.

    In L1 each has the length of the box, and what exceeds epsilon is projected away.
    """
    height, width = x.shape[-2:]
    tile = max(min(height, width) // 5, 1)
    rows, columns = min(5, height // tile), min(5, width // tile)
    signs = _signs(draws[:, :, :rows, :columns])
    grid = signs.repeat_interleave(tile, dim=2).repeat_interleave(tile, dim=3)
    grid = grid * double_bump(tile, x, norm).repeat(rows, columns)
    top, left = (height - rows * tile) // 2, (width - columns * tile) // 2
    padding = (left, width - columns * tile - left, top, height - rows * tile - top)
    grid = functional.pad(grid, padding)
    if norm == "l1":
        return _within_l1(x, bounds.width * grid, epsilon, bounds)
    return bounds.clip(x + epsilon * normalize(grid, "l2"))


def l2_square(
    x: Tensor, x_adv: Tensor, h: int, epsilon: float | Tensor, bounds: Bounds, draws: Tensor
) -> Tensor:
    """The budget of two windows, and what is unused, moves into the first (Algorithm 3).

    A double bump η, upright or transposed, is added to what the first window holds, each of length
    one. The second window becomes clean. draws (N, 5 + C).
    """
    delta = (x_adv - x).contiguous()  # ν in the paper
    unused = (per_row(epsilon) ** 2 - distances(delta, "l2") ** 2).clamp_min(0) / x.shape[1]
    window, before, after = _emptied(delta, h, draws)
    eta = _bumps_of(h, "l2", draws, x)
    budget = (unused[:, None, None] + _lengths(before) ** 2 + _lengths(after) ** 2).sqrt()
    _write(delta, window, budget * _normalized(_normalized(before) + eta))
    return bounds.clip(x + epsilon * normalize(delta, "l2"))


def l1_square(
    x: Tensor, x_adv: Tensor, h: int, epsilon: float | Tensor, bounds: Bounds, draws: Tensor
) -> Tensor:
    """As `l2_square` with lengths in L1, and an exact projection onto the ball and the box."""
    delta = (x_adv - x).contiguous()
    unused = (per_row(epsilon) - distances(delta, "l1")).clamp_min(0)
    window, before, after = _emptied(delta, h, draws)
    eta = _bumps_of(h, "l1", draws, x)
    # The authors have the factor C: what is too much, the projection takes away.
    budget = unused[:, None, None] + x.shape[1] * (_lengths(before, 1) + _lengths(after, 1))
    _write(delta, window, budget * _normalized(_normalized(before, 1) + eta, 1))
    return _within_l1(x, delta, epsilon, bounds)


def _emptied(delta: Tensor, h: int, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first window, and what both windows held, (N, C, h²); both are set to zero.

    What the second held is what lies outside of the first.
    """
    first, second = _corners(draws[:, :2], h, delta), _corners(draws[:, 2:4], h, delta)
    w_1, w_2 = _window(first, h, delta), _window(second, h, delta)
    before = _inside(delta, w_1)
    _write(delta, w_1, torch.zeros_like(before))
    after = _inside(delta, w_2)
    _write(delta, w_2, torch.zeros_like(after))
    return w_1, before, after


def _bumps_of(h: int, norm: Norm, draws: Tensor, like: Tensor) -> Tensor:
    """η (N, C, h²): the double bump, upright or transposed, with a sign per channel."""
    bump = double_bump(h, like, norm)
    eta = torch.where(draws[:, 4, None, None] < 0.5, bump, bump.T)
    return eta.flatten(1)[:, None] * _signs(draws[:, 5:, None])


def _within_l1(x: Tensor, delta: Tensor, epsilon: float | Tensor, bounds: Bounds) -> Tensor:
    """x + δ (N, C, H, W), projected onto the L1 ball within the box."""
    return bounds.clip(x + project_l1_box(delta, epsilon, x, bounds))


def double_bump(h: int, like: Tensor, norm: Norm = "l2") -> Tensor:
    """Two bumps of opposite sign, one above the other (h, h), of length one in L2 or L1 (§4.3)."""
    return _double_bump(h, 1 if norm == "l1" else 2, like.dtype, like.device)


@lru_cache(maxsize=128)
def _double_bump(h: int, order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """As `double_bump`; cached, since a search needs the same few sides at every step."""
    like = torch.empty(0, dtype=dtype, device=device)
    both = torch.cat([_bump(h // 2, h, order, like), -_bump(h - h // 2, h, order, like)])
    return both / both.norm(p=order)


def _bump(height: int, width: int, order: int, like: Tensor) -> Tensor:
    """Equation 2: at k pixels (L∞) from the middle, the sum of 1/j² for j > k, of length one.

    In L1 of 1/j⁴, as the authors have it.
    """
    rows, columns = (torch.arange(size, device=like.device) for size in (height, width))
    k = torch.maximum((rows - height // 2).abs()[:, None], (columns - width // 2).abs())
    numbers = torch.arange(1, max(height, width) // 2 + 2, device=like.device)
    rings = 1 / numbers.to(like) ** (2 if order == 2 else 4)
    bump = rings.flip(0).cumsum(0).flip(0)[k]
    return bump / bump.norm(p=order) if height else bump


def _corners(draws: Tensor, h: int, like: Tensor) -> Tensor:
    """The upper left corners (N, 2) of squares inside the image; draws (N, 2)."""
    rooms = [side - h for side in like.shape[-2:]]
    # A draw next to 1 may be rounded up to the size itself.
    return torch.stack(
        [
            (draw * (room + 1)).long().clamp_max(room)
            for draw, room in zip(draws.T, rooms, strict=True)
        ],
        dim=1,
    )


def _window(corners: Tensor, h: int, like: Tensor) -> Tensor:
    """The pixels of each square, as indices (N, C, h²) into rows of H · W."""
    side, width = torch.arange(h, device=like.device), like.shape[3]
    rows, columns = corners[:, :, None].unbind(dim=1)
    pixels = (rows + side)[:, :, None] * width + (columns + side)[:, None, :]
    return pixels.flatten(1)[:, None].expand(-1, like.shape[1], -1)


def _inside(images: Tensor, window: Tensor) -> Tensor:
    """The pixels of images (N, C, H, W) inside the windows, (N, C, h²)."""
    return images.flatten(2).gather(2, window)


def _write(images: Tensor, window: Tensor, values: Tensor) -> None:
    """Set the pixels inside the windows of contiguous images."""
    images.view(*images.shape[:2], -1).scatter_(2, window, values)


def _signs(draws: Tensor) -> Tensor:
    """−1 or +1 with equal probability."""
    return torch.where(draws < 0.5, -1.0, 1.0).to(draws.dtype)


def _lengths(values: Tensor, order: int = 2) -> Tensor:
    """The L2 or L1 norm (N, C, 1) of each channel of a window."""
    return torch.linalg.vector_norm(values, ord=order, dim=2, keepdim=True)


def _normalized(values: Tensor, order: int = 2) -> Tensor:
    """Each channel of a window scaled to length one; zero stays zero."""
    return values / _lengths(values, order).clamp_min(torch.finfo(values.dtype).tiny)
