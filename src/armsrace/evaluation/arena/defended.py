"""A defense as the arena judges it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from armsrace.contracts import Model


@dataclass(frozen=True)
class Defended:
    """A defense, and the models through which it is attacked.

    Args:
        model: images (N, C, H, W) to logits (N, K).
        gradient_model: what attacks query and differentiate in its place.
        refuses: images to (N,) bool, True for images that are refused, not classified.
        adaptive_model: what an attacker uses who knows the defense's secret. For a detector, images
            to (N, K + 1), the last class being "refused"; for a threshold, the model with a nonzero
            gradient there; for a search, the model with the gradient through its steps.
        explanations: of a model that explains images, keywords for the attacks that use them, such
            as `explain`.
    """

    model: Model
    gradient_model: Model
    refuses: Callable[[Tensor], Tensor] | None = None
    adaptive_model: Model | None = None
    explanations: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Defended:
        """The same with its modules on a device; `refuses` uses the same modules."""
        for part in (self.model, self.gradient_model, self.adaptive_model):
            if isinstance(part, nn.Module):
                part.to(device)
        return self

    @torch.no_grad()
    def is_adversarial(self, images: Tensor, labels: Tensor) -> Tensor:
        """(N,) bool: images that are accepted and misclassified."""
        wrong = self.model(images).argmax(dim=1) != labels
        return wrong if self.refuses is None else wrong & ~self.refuses(images)

    @torch.no_grad()
    def clean_correct(self, images: Tensor, labels: Tensor) -> Tensor:
        """(N,) bool: clean images that are accepted and classified correctly."""
        correct = self.model(images).argmax(dim=1) == labels
        return correct if self.refuses is None else correct & ~self.refuses(images)
