"""The attacks of the arena, each with its norm, its options, and its budget if it takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, Literal

import torch
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import AttackResult, Model, Norm
from armsrace.evaluation.arena.defended import Defended
from armsrace.evaluation.minimal_epsilon import smallest_epsilon
from armsrace.losses import margin
from armsrace.models import zoo

BUDGETS: dict[Norm, float] = {"linf": 0.3, "l2": 1.5, "l0": 12}
"""The budgets at which Schott et al. 2019, Table 1, compare defenses of MNIST: pixel units, and for
L0 pixels."""
CLASSES = 10
"""The digits; a detector's logits have an eleventh class, "refused"."""
Access = Literal["gradients", "scores", "decisions", "explanations", "another network"]


@dataclass(frozen=True)
class Entry:
    """One column of the arena: an attack in one norm.

    Args:
        name: the attack.
        norm: the norm that it minimizes, or in which it has a budget.
        run: an attack of `armsrace.attacks`, or a function with the same signature.
        access: what it needs from the defense.
        options: its keywords.
        reduced_options: keywords that replace them for a slow defense; None means that it is not
            run there.
        fixed: it takes the budget of its norm. Otherwise it searches for the smallest perturbation.
        adaptive_model: it attacks the defense's adaptive model, if there is one.
        networks: the networks of the zoo that the attacker has.
        needs: of a defense's `explanations`; it is not run on others.
    """

    name: str
    norm: Norm
    run: Callable[..., AttackResult]
    access: Access
    options: Mapping[str, Any] = field(default_factory=dict)
    reduced_options: Mapping[str, Any] | None = field(default_factory=dict)
    fixed: bool = False
    adaptive_model: bool = False
    networks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name and the norm, which are unique together."""
        return f"{self.name}-{self.norm}"

    @property
    def epsilon(self) -> float | None:
        """The budget in the norm's unit; None if the attack minimizes the norm."""
        return BUDGETS[self.norm] if self.fixed else None

    def settings(self, slow: bool) -> dict[str, Any]:
        """All keywords except for the generator; the reduced ones for a slow defense."""
        budget = {"epsilon": self.epsilon} if self.fixed else {}
        return {**budget, **self.options, **((self.reduced_options or {}) if slow else {})}

    def attack(
        self, defended: Defended, images: Tensor, labels: Tensor, seed: int, slow: bool
    ) -> AttackResult:
        """Attack images (N, C, H, W); a random attack starts from the seed."""
        settings = self.settings(slow)
        keywords = inspect.signature(self.run).parameters
        if "generator" in keywords:
            settings["generator"] = torch.Generator().manual_seed(seed)
        settings |= {k: value for k, value in defended.explanations.items() if k in keywords}
        adaptive_model = defended.adaptive_model if self.adaptive_model else None
        return self.run(adaptive_model or defended.gradient_model, images, labels, **settings)


def runner_up_target(attack: Callable[..., AttackResult]) -> Callable[..., AttackResult]:
    """The attack with the likeliest wrong class as its target, never "refused"; one more query."""

    @wraps(attack)
    def run(model: Model, images: Tensor, labels: Tensor, **settings: Any) -> AttackResult:
        with torch.no_grad():
            logits = model(images)[:, :CLASSES]
        runner_up = logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
        result = attack(model, images, labels, targets=runner_up, **settings)
        return replace(result, queries=result.queries + 1)

    return run


def at_smallest_epsilon(attack: Callable[..., AttackResult]) -> Callable[..., AttackResult]:
    """The attack at the smallest of equally spaced budgets at which it succeeds."""

    @wraps(attack)
    def run(
        model: Model, images: Tensor, labels: Tensor, *, largest: float, levels: int,
        **settings: Any,
    ) -> AttackResult:  # fmt: skip
        epsilons = [largest * level / levels for level in range(1, levels + 1)]
        budgeted = partial(attack, **settings)
        return smallest_epsilon(budgeted, model, images, labels, epsilons, bisect=True)

    return run


def transferred(
    model: Model, images: Tensor, labels: Tensor, *, source: str, epsilon: float, norm: Norm,
    steps: int, generator: torch.Generator | None = None,
) -> AttackResult:  # fmt: skip
    """Transfer: PGD on a network of the zoo, the source; its images are tried on the model."""
    attack = partial(attacks.pgd, epsilon=epsilon, norm=norm, steps=steps, generator=generator)
    network = zoo.load(source, images.device)
    return attacks.transfer(model, images, labels, source=network, attack=attack)


_NOISE = {"repeats": 10, "levels": 10}
_SOURCE = "carlini-wagner-odd"
_REDUCED = {"steps": 20}
ENTRIES: tuple[Entry, ...] = (
    Entry("transfer", "linf", transferred, "another network",
          {"source": _SOURCE, "norm": "linf", "steps": 20}, fixed=True, networks=(_SOURCE,)),
    Entry("transfer", "l2", transferred, "another network",
          {"source": _SOURCE, "norm": "l2", "steps": 20}, fixed=True, networks=(_SOURCE,)),
    Entry("fgsm", "linf", attacks.fgsm, "gradients", fixed=True),
    Entry("fgsm", "l2", attacks.fgsm, "gradients", {"norm": "l2"}, fixed=True),
    Entry("rand-fgsm", "linf", attacks.rand_fgsm, "gradients", fixed=True),
    Entry("bim", "linf", attacks.bim, "gradients",
          {"steps": 10, "step_size": 0.06}, fixed=True),
    Entry("momentum", "linf", attacks.mi_fgsm, "gradients", {"steps": 10}, fixed=True),
    Entry("uniform-noise", "linf", attacks.uniform_noise, "decisions", _NOISE, {"repeats": 2}),
    Entry("gaussian-noise", "l2", attacks.gaussian_noise, "decisions", _NOISE, {"repeats": 2}),
    Entry("salt-and-pepper", "l0", attacks.salt_and_pepper, "decisions", _NOISE, {"repeats": 2}),
    Entry("pgd", "linf", attacks.pgd, "gradients", {"steps": 40}, _REDUCED, fixed=True),
    Entry("pgd", "l2", attacks.pgd, "gradients", {"norm": "l2", "steps": 40}, _REDUCED, fixed=True),
    Entry("least-pgd", "linf", at_smallest_epsilon(attacks.pgd), "gradients",
          {"largest": 0.64, "levels": 64, "steps": 20}, {"steps": 10}),
    Entry("deepfool", "linf", attacks.deepfool, "gradients", {"norm": "linf", "steps": 20},
          {"steps": 5}),
    Entry("deepfool", "l2", attacks.deepfool, "gradients", {"steps": 20}, {"steps": 5}),
    Entry("ddn", "l2", attacks.ddn, "gradients", {"steps": 50}, {"steps": 40}),
    Entry("aimed-pgd", "linf", runner_up_target(attacks.pgd), "gradients", {"steps": 40}, _REDUCED,
          fixed=True, adaptive_model=True),
    Entry("aimed-ddn", "l2", runner_up_target(attacks.ddn), "gradients", {"steps": 80},
          {"steps": 40}, adaptive_model=True),
    Entry("square", "linf", attacks.square, "scores", {"queries": 300}, {"queries": 40},
          fixed=True),
    Entry("square", "l2", attacks.square, "scores", {"norm": "l2", "queries": 300},
          {"queries": 40}, fixed=True),
    Entry("carlini-wagner", "l2", attacks.carlini_wagner_l2, "gradients",
          {"binary_search_steps": 4, "steps": 60, "step_size": 0.1, "initial_constant": 1.0},
          {"binary_search_steps": 2, "steps": 25, "initial_constant": 10.0}),
    Entry("boundary", "l2", attacks.boundary, "decisions", {"steps": 300}, {"steps": 30}),
    Entry("pointwise", "l0", attacks.pointwise, "decisions", {"restarts": 10}, None),
    Entry("margin-apgd", "linf", partial(attacks.auto_pgd, loss=margin), "gradients",
          {"steps": 100}, None, fixed=True, adaptive_model=True),
    Entry("minimum-norm", "linf", attacks.minimum_norm, "gradients", {"norm": "linf"}, None,
          adaptive_model=True),
    Entry("minimum-norm", "l2", attacks.minimum_norm, "gradients", {"norm": "l2"}, None,
          adaptive_model=True),
    Entry("sigma-zero", "l0", attacks.sigma_zero, "gradients", {"steps": 300}, None,
          adaptive_model=True),
    Entry("latent-descent", "l2", attacks.latent_descent, "explanations", {"coarse": 20},
          needs=("explain",)),
    Entry("greedy-explanation", "l0", attacks.greedy_explanation, "explanations",
          {"pixels": 1, "steps": 80}, needs=("explain",)),
    Entry("greedy-explanation", "l2", attacks.greedy_explanation, "explanations",
          {"norm": "l2", "pixels": 1, "steps": 80}, needs=("explain", "threshold")),
)  # fmt: skip
ATTACKS: dict[str, Entry] = {entry.label: entry for entry in ENTRIES}
