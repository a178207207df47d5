"""The random moves of the square attack, a batch at a time (Andriushchenko et al. 2020, §4).

All take images (N, C, H, W) and numbers (N, ·) uniform on [0, 1), so that an image's moves depend
on its own numbers alone, and return images inside the budget and the box.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from armsrace.attacks.norms import column, distances, unit
from armsrace.contracts import Bounds

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After each of these of 10,000 iterations the share of pixels in a square is halved (§5.1)."""


def side_at(progress: float, share: float, image: Tensor, least: int = 1) -> int:
    """The side of the squares, in pixels, when this part of the search is done."""
    height, width = image.shape[-2:]
    share = share / 2 ** bisect_left(HALVINGS, int(1e4 * progress))
    return min(max(round(math.sqrt(share * height * width)), least), height, width)


def stripes(clean: Tensor, epsilon: float, bounds: Bounds, draws: Tensor) -> Tensor:
    """Every column of every channel up or down by epsilon; draws (N, C, 1, W)."""
    return bounds.clip(clean + epsilon * _signs(draws))


def linf_square(
    clean: Tensor, current: Tensor, side: int, epsilon: float, bounds: Bounds, draws: Tensor
) -> Tensor:
    """One square set to ±epsilon, a sign a channel (Algorithm 2); draws (N, 2 + C).

    Where that changes nothing, the signs are turned: the paper draws them again until it does.
    """
    inside = _window(_corners(draws[:, :2], side, clean), side, clean)
    step = epsilon * _signs(draws[:, 2:, None, None])
    moved = torch.where(inside, bounds.clip(clean + step), current)
    same = (moved == current).flatten(1).all(dim=1)
    step = torch.where(column(same), -step, step)
    return torch.where(inside, bounds.clip(clean + step), current)


def bumps(clean: Tensor, epsilon: float, bounds: Bounds, draws: Tensor) -> Tensor:
    """A grid of five by five double bumps of length epsilon; draws (N, C, 5, 5) give the signs."""
    height, width = clean.shape[-2:]
    tile = max(min(height, width) // 5, 1)
    down, across = min(5, height // tile), min(5, width // tile)
    signs = _signs(draws[:, :, :down, :across])
    grid = signs.repeat_interleave(tile, dim=2).repeat_interleave(tile, dim=3)
    grid = grid * double_bump(tile, clean).repeat(down, across)
    above, left = (height - down * tile) // 2, (width - across * tile) // 2
    rest = (left, width - across * tile - left, above, height - down * tile - above)
    return bounds.clip(clean + epsilon * unit(functional.pad(grid, rest), "l2"))


def l2_square(
    clean: Tensor, current: Tensor, side: int, epsilon: float, bounds: Bounds, draws: Tensor
) -> Tensor:
    """The budget of two squares, and what is unspent, into the first (Algorithm 3).

    A double bump, lying or standing, is added there to what the square holds, both of length one;
    the second square becomes clean. draws (N, 5 + C).
    """
    delta, corners = current - clean, _corners(draws[:, :2], side, clean)
    first = _window(corners, side, clean)
    both = first | _window(_corners(draws[:, 2:4], side, clean), side, clean)
    bump = double_bump(side, clean)
    shapes = torch.where(draws[:, 4, None, None] < 0.5, bump, bump.T)
    added = _placed(shapes, corners, clean) * _signs(draws[:, 5:, None, None])
    fresh = _normalized(delta * first) + added * first
    unspent = (epsilon**2 - distances(delta, "l2") ** 2).clamp_min(0) / clean.shape[1]
    room = (column(unspent) + _lengths(delta * both) ** 2).sqrt()
    delta = torch.where(first, room * _normalized(fresh), delta.masked_fill(both, 0.0))
    return bounds.clip(clean + epsilon * unit(delta, "l2"))


def double_bump(side: int, like: Tensor) -> Tensor:
    """Two bumps of opposite sign, one above the other (side, side), of length one in L2 (§4.3)."""
    return _double_bump(side, like.dtype, like.device)


@lru_cache(maxsize=128)
def _double_bump(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, since a search asks for the same few sides at every step.
    like = torch.empty(0, dtype=dtype, device=device)
    both = torch.cat([_bump(side // 2, side, like), -_bump(side - side // 2, side, like)])
    return both / both.norm()


def _bump(height: int, width: int, like: Tensor) -> Tensor:
    # At k pixels from the middle (L∞) the sum of 1/j² over j from k + 1 to the last ring.
    rows, columns = (torch.arange(size, device=like.device) for size in (height, width))
    away = torch.maximum((rows - height // 2).abs()[:, None], (columns - width // 2).abs())
    rings = 1 / torch.arange(1, max(height, width) // 2 + 2, device=like.device).to(like) ** 2
    bump = rings.flip(0).cumsum(0).flip(0)[away]
    return bump / bump.norm() if height else bump


def _corners(draws: Tensor, side: int, like: Tensor) -> Tensor:
    # A number next to 1 may be rounded up to the size itself.
    room = torch.tensor(like.shape[-2:], device=like.device) - side
    return torch.minimum((draws * (room + 1)).long(), room)


def _window(corners: Tensor, side: int, like: Tensor) -> Tensor:
    rows, columns = (
        (place >= start[:, None]) & (place < start[:, None] + side)
        for place, start in zip(_places(like), corners.T, strict=True)
    )
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _placed(shapes: Tensor, corners: Tensor, like: Tensor) -> Tensor:
    # Outside of the square the indices are clamped: the caller masks what lies there.
    side, image = shapes.shape[-1], torch.arange(len(shapes), device=like.device)
    rows, columns = (
        (place - start[:, None]).clamp(0, side - 1)
        for place, start in zip(_places(like), corners.T, strict=True)
    )
    return shapes[image[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def _places(like: Tensor) -> list[Tensor]:
    return [torch.arange(size, device=like.device) for size in like.shape[-2:]]


def _signs(draws: Tensor) -> Tensor:
    return torch.where(draws < 0.5, -1.0, 1.0).to(draws.dtype)


def _lengths(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values, dim=(2, 3), keepdim=True)


def _normalized(values: Tensor) -> Tensor:
    return values / _lengths(values).clamp_min(torch.finfo(values.dtype).tiny)
