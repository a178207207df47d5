"""A defense as the arena judges it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from armsrace.contracts import Model


@dataclass(frozen=True)
class Defended:
    """A defense as it is judged.

    model: images (N, C, H, W) to logits (N, K). through: what attacks ask and differentiate in
    its place. refuses: images to (N,) bool, those that are not read at all. aware: what an attacker
    goes through who knows the defense's secret: of a detector, images to (N, K + 1), the last class
    "refused"; of a threshold, the model with a slope there.
    """

    model: Model
    through: Model
    refuses: Callable[[Tensor], Tensor] | None = None
    aware: Model | None = None

    def to(self, device: torch.device | str) -> Defended:
        """The same, its modules moved to a device; `refuses` is a part of them."""
        for part in (self.model, self.through, self.aware):
            if isinstance(part, nn.Module):
                part.to(device)
        return self

    @torch.no_grad()
    def beaten(self, images: Tensor, labels: Tensor) -> Tensor:
        """(N,) bool: adversarial images that are let through and misread."""
        wrong = self.model(images).argmax(dim=1) != labels
        return wrong if self.refuses is None else wrong & ~self.refuses(images)

    @torch.no_grad()
    def served(self, images: Tensor, labels: Tensor) -> Tensor:
        """(N,) bool: clean images that are let through and read rightly."""
        right = self.model(images).argmax(dim=1) == labels
        return right if self.refuses is None else right & ~self.refuses(images)
