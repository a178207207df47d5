"""What a property is tried on, and the instruments that watch a model under attack."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from armsrace.contracts import AttackResult, Bounds

if TYPE_CHECKING:
    from tests.attacks.specs import AttackSpec


@dataclass(frozen=True)
class Case:
    """One attack to run: a network, images, labels, targets or None, part of a budget, a seed.

    A case remembers what each attack gave, so that several properties can be read off one run.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    scale: float = 1.0
    seed: int = 0
    known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def run(self, spec: AttackSpec) -> AttackResult:
        """The attack on the case, run once."""
        if spec.name not in self.known:
            self.known[spec.name] = self.again(spec)
        return self.known[spec.name]

    def again(self, spec: AttackSpec) -> AttackResult:
        """The attack on the case, run anew."""
        return spec.run(
            self.model, self.images, self.labels, scale=self.scale, seed=self.seed,
            targets=self.targets,
        )  # fmt: skip

    def counted(self, spec: AttackSpec) -> tuple[AttackResult, Counting]:
        """The attack run anew, once, on a function: a model that counts, which comes with it."""
        name = f"{spec.name} counted"
        if name not in self.known:
            counting = Counting(self.model).eval()
            function = replace(self, model=NoModule(counting))  # type: ignore[arg-type]
            self.known[name] = function.again(spec), counting
        return self.known[name]

    def part(self, order: list[int]) -> Case:
        """The images of the case at these places."""
        targets = None if self.targets is None else self.targets[order]
        return replace(self, images=self.images[order], labels=self.labels[order], targets=targets)

    def double(self) -> Case:
        """The same in float64, one and the same case each time."""
        if "in float64" not in self.known:
            model = copy.deepcopy(self.model).double()
            self.known["in float64"] = replace(self, model=model, images=self.images.double())
        return self.known["in float64"]


class NoModule:
    """A module as a plain callable; its deep copy has a copy of the module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, images: Tensor) -> Tensor:
        return self.module(images)


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


class ToUnit(nn.Module):
    """Pixels of another box in [0, 1], as the first layer of a model for that box."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self.bounds = bounds

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.bounds.lower) / self.bounds.width


class Shifted(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images + 0.5)
