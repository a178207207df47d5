"""What a property is tried on, and the instruments that watch a model under attack."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from torch import Tensor, nn

from armsrace.contracts import AttackResult

from .specs import AttackSpec


@dataclass(frozen=True)
class Case:
    """One attack to run: a network, images, labels, targets or None, part of a budget, a seed."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    scale: float = 1.0
    seed: int = 0

    def run(self, spec: AttackSpec) -> AttackResult:
        """The attack on the case."""
        return spec.run(
            self.model, self.images, self.labels, scale=self.scale, seed=self.seed,
            targets=self.targets,
        )  # fmt: skip

    def part(self, order: list[int]) -> Case:
        """The images of the case at these places."""
        targets = None if self.targets is None else self.targets[order]
        return replace(self, images=self.images[order], labels=self.labels[order], targets=targets)

    def double(self) -> Case:
        """The same in float64."""
        return replace(self, model=copy.deepcopy(self.model).double(), images=self.images.double())


class Counting(nn.Module):
    """A model that counts the images that went forward and backward through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits = self.model(images)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class Shifted(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images + 0.5)
