"""The attacks of the arena: each with its norm, its options, and a budget or none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import AttackResult, Norm
from armsrace.evaluation.arena.composed import aimed, least, transferred
from armsrace.evaluation.arena.defended import Defended

BUDGETS: dict[Norm, float] = {"linf": 0.3, "l2": 1.5, "l0": 12}
"""Those at which Schott et al. 2019, Table 1, compare defenses of MNIST; pixel units, pixels."""

Knows = Literal["gradients", "scores", "decisions", "another network"]


@dataclass(frozen=True)
class Entry:
    """One column: an attack in one norm.

    run: an attack of `armsrace.attacks`, or one with its signature. knows: what it asks the
    defense for. options: its keywords. brief: what of them is less where a query is slow, or None
    where it is then not run. fixed: whether it takes the budget of its norm; else it looks for the
    smallest perturbation. aware: whether it knows the defense's secret, where it has one.
    networks: the zoo's that the attacker holds.
    """

    name: str
    norm: Norm
    run: Callable[..., AttackResult]
    knows: Knows
    options: Mapping[str, Any] = field(default_factory=dict)
    brief: Mapping[str, Any] | None = field(default_factory=dict)
    fixed: bool = False
    aware: bool = False
    networks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name and norm, which together are unique."""
        return f"{self.name}-{self.norm}"

    @property
    def epsilon(self) -> float | None:
        """The budget in the norm's unit; None where it looks for the least."""
        return BUDGETS[self.norm] if self.fixed else None

    def settings(self, slow: bool) -> dict[str, Any]:
        """All keywords but the generator."""
        budget = {"epsilon": self.epsilon} if self.fixed else {}
        return {**budget, **self.options, **((self.brief or {}) if slow else {})}

    def attack(
        self, defended: Defended, images: Tensor, labels: Tensor, seed: int, slow: bool
    ) -> AttackResult:
        """Run it; an attack that draws at random starts from the seed."""
        settings = self.settings(slow)
        if "generator" in inspect.signature(self.run).parameters:
            settings["generator"] = torch.Generator().manual_seed(seed)
        known = defended.aware if self.aware else None
        return self.run(known or defended.through, images, labels, **settings)


_NOISE = {"repeats": 10, "levels": 10}
_OTHER = "carlini-wagner-odd"
_BRIEF = {"steps": 20}

ENTRIES: tuple[Entry, ...] = (
    Entry("transfer", "linf", transferred, "another network",
          {"source": _OTHER, "norm": "linf", "steps": 20}, fixed=True, networks=(_OTHER,)),
    Entry("transfer", "l2", transferred, "another network",
          {"source": _OTHER, "norm": "l2", "steps": 20}, fixed=True, networks=(_OTHER,)),
    Entry("fgsm", "linf", attacks.fgsm, "gradients", fixed=True),
    Entry("fgsm", "l2", attacks.fgsm, "gradients", {"norm": "l2"}, fixed=True),
    Entry("rand-fgsm", "linf", attacks.rand_fgsm, "gradients", fixed=True),
    Entry("bim", "linf", attacks.bim, "gradients",
          {"steps": 10, "step_size": 0.06}, fixed=True),
    Entry("momentum", "linf", attacks.momentum, "gradients", {"steps": 10}, fixed=True),
    Entry("uniform-noise", "linf", attacks.uniform_noise, "decisions", _NOISE, {"repeats": 2}),
    Entry("gaussian-noise", "l2", attacks.gaussian_noise, "decisions", _NOISE, {"repeats": 2}),
    Entry("salt-and-pepper", "l0", attacks.salt_and_pepper, "decisions", _NOISE, {"repeats": 2}),
    Entry("pgd", "linf", attacks.pgd, "gradients", {"steps": 40}, _BRIEF, fixed=True),
    Entry("pgd", "l2", attacks.pgd, "gradients", {"norm": "l2", "steps": 40}, _BRIEF, fixed=True),
    Entry("least-pgd", "linf", least(attacks.pgd), "gradients",
          {"largest": 0.64, "levels": 64, "steps": 20}, {"steps": 10}),
    Entry("deepfool", "linf", attacks.deepfool, "gradients", {"norm": "linf", "steps": 20},
          {"steps": 5}),
    Entry("deepfool", "l2", attacks.deepfool, "gradients", {"steps": 20}, {"steps": 5}),
    Entry("ddn", "l2", attacks.ddn, "gradients", {"steps": 50}, {"steps": 40}),
    Entry("aimed-pgd", "linf", aimed(attacks.pgd), "gradients", {"steps": 40}, _BRIEF,
          fixed=True, aware=True),
    Entry("aimed-ddn", "l2", aimed(attacks.ddn), "gradients", {"steps": 80}, {"steps": 40},
          aware=True),
    Entry("square", "linf", attacks.square, "scores", {"queries": 300}, {"queries": 40},
          fixed=True),
    Entry("square", "l2", attacks.square, "scores", {"norm": "l2", "queries": 300},
          {"queries": 40}, fixed=True),
    Entry("carlini-wagner", "l2", attacks.carlini_wagner_l2, "gradients",
          {"binary_search_steps": 4, "steps": 60, "step_size": 0.1, "initial_constant": 1.0},
          {"binary_search_steps": 2, "steps": 25, "initial_constant": 10.0}),
    Entry("boundary", "l2", attacks.boundary, "decisions", {"steps": 300}, {"steps": 30}),
    Entry("pointwise", "l0", attacks.pointwise, "decisions", {"restarts": 10}, None),
)  # fmt: skip
ATTACKS: dict[str, Entry] = {entry.label: entry for entry in ENTRIES}
