"""One row an attack: what the property tests need to know of it. A new attack adds its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import AttackResult, Model, Norm


@dataclass(frozen=True)
class AttackSpec:
    """An attack with its options; `budget` is an epsilon that fools most digits, or None.

    fools: the least share of digits that the small network must get wrong at the budget.
    random: takes a generator. targeted: takes targets. least_likely: chooses its own target.
    gradients: asks the model for gradients. shared: one perturbation for the whole batch.
    """

    name: str
    attack: Callable[..., AttackResult]
    options: dict[str, Any] = field(default_factory=dict)
    norm: Norm = "linf"
    budget: float | None = 0.2
    fools: float = 0.8
    random: bool = False
    targeted: bool = True
    least_likely: bool = False
    gradients: bool = True
    shared: bool = False

    def run(
        self, model: Model, images: Tensor, labels: Tensor, *, scale: float = 1.0,
        seed: int = 0, targets: Tensor | None = None, **more: Any,
    ) -> AttackResult:  # fmt: skip
        """The attack at `scale` times its budget, with every option that it takes."""
        options = self.options | more
        if self.budget is not None:
            options.setdefault("epsilon", scale * self.budget)
        if self.random:
            options.setdefault("generator", torch.Generator().manual_seed(seed))
        if targets is not None:
            options["targets"] = targets
        return self.attack(model, images, labels, **options)


SPECS = (
    AttackSpec("fgsm-linf", attacks.fgsm),
    AttackSpec("fgsm-l2", attacks.fgsm, {"norm": "l2"}, "l2", 3.0),
    AttackSpec("fgsm-l1", attacks.fgsm, {"norm": "l1"}, "l1", 15.0),
    AttackSpec("rand-fgsm", attacks.rand_fgsm, random=True),
    AttackSpec("bim", attacks.bim, {"steps": 3, "step_size": 0.08}),
    AttackSpec(
        "least-likely", attacks.least_likely, {"steps": 10, "step_size": 0.05}, budget=0.3,
        targeted=False, least_likely=True,
    ),
    AttackSpec("pgd-linf", attacks.pgd, {"steps": 3}, random=True),
    AttackSpec("pgd-l2", attacks.pgd, {"steps": 3, "norm": "l2"}, "l2", 3.0, random=True),
    AttackSpec("pgd-l1", attacks.pgd, {"steps": 5, "norm": "l1"}, "l1", 15.0, random=True),
    AttackSpec("pgd-still-linf", attacks.pgd, {"steps": 3, "random_start": False}),
    AttackSpec(
        "pgd-still-l1", attacks.pgd, {"steps": 5, "norm": "l1", "random_start": False}, "l1", 15.0
    ),
    AttackSpec("pgd-restarts", attacks.pgd, {"steps": 2, "restarts": 3}, random=True),
    AttackSpec("momentum", attacks.momentum, {"steps": 3}),
    AttackSpec("deepfool-l2", attacks.deepfool, norm="l2", budget=None, targeted=False),
    AttackSpec(
        "deepfool-linf", attacks.deepfool, {"norm": "linf"}, budget=None, targeted=False
    ),
    AttackSpec("jsma", attacks.jsma, {"gamma": 0.03}, "l0", budget=None),
    AttackSpec(
        "jsma-logits-light", attacks.jsma, {"gamma": 0.03, "form": "logits", "theta": -1}, "l0",
        budget=None, fools=0.5,
    ),
)  # fmt: skip
