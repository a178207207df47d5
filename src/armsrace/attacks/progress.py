"""State with one row an image, and whether each image's descent still gets on."""

from __future__ import annotations

import torch
from torch import Tensor


class PerImage:
    """State with one row an image: `keep` drops the rows of those that are finished."""

    def keep(self, kept: Tensor) -> None:
        """Keep the rows chosen by a bool mask or indices (M,) of every tensor."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[kept])


class Progress(PerImage):
    """Whether each image's objective still falls, and whether it was adversarial of late.

    It is asked once in a window of steps: a twentieth of them, and at least ten. lately (N,) bool:
    adversarial in the last half of a window; one that began so and left has not succeeded.
    """

    def __init__(self, like: Tensor, steps: int, gain: float | None) -> None:
        self._steps, self._window, self._gain = steps, max(10, steps // 20), gain
        self._before = like
        self.lately = torch.zeros_like(like, dtype=torch.bool)

    def ended(self, objective: Tensor, reached: Tensor, counts: Tensor) -> Tensor:
        """(N,) bool: all steps are taken, or the last window gained less than the fraction `gain`.

        objective (N,), reached (N,) bool: adversarial now; counts (N,): of steps taken. Without a
        gain only the steps count.
        """
        first, over = counts == 1, counts % self._window == 0
        keeps = ~first & (counts % self._window != self._window // 2)
        self.lately = (self.lately & keeps) | reached
        before = torch.where(first, objective, self._before)
        self._before = torch.where(over, objective, before)
        stalled = over & (objective > (1 - (self._gain or 0)) * before)
        return (counts == self._steps) | (stalled & (self._gain is not None))
