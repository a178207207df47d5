"""One row an attack: what the property tests need to know of it. A new attack adds its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import AttackResult, Model, Norm
from armsrace.losses import targeted_dlr
from tests.attacks import borrowed


@dataclass(frozen=True)
class AttackSpec:
    """An attack with its options; `budget` is an epsilon that fools most digits, or None.

    fools: the least share of digits that the small network must get wrong at the budget.
    random: takes a generator. targeted: takes targets. least_likely: chooses its own target.
    gradients: asks the model for gradients. shared: one perturbation for the whole batch.
    aims: finds most targets, as noise, which does not look for them, or one patch for many targets
        cannot.
    settles: within a tiny budget it finds the same images from every start.
    pixel_units: the options in pixel units, beside epsilon.
    decisions: only the greatest of the model's answers counts, so they need not be logits.
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
    aims: bool = True
    settles: bool = False
    pixel_units: tuple[str, ...] = ()
    decisions: bool = False

    def run(
        self, model: Model, images: Tensor, labels: Tensor, *, scale: float = 1.0,
        seed: int = 0, targets: Tensor | None = None, width: float = 1.0, **more: Any,
    ) -> AttackResult:  # fmt: skip
        """The attack at `scale` times its budget, with every option that it takes.

        width: of the box, with which all that is in pixel units grows.
        """
        options = self.options | more
        options |= {name: width * options[name] for name in self.pixel_units}
        if self.budget is not None:
            # In L0 a budget is a count of pixels, whatever their range.
            unit = 1.0 if self.norm == "l0" else width
            options.setdefault("epsilon", scale * self.budget * unit)
        if self.random:
            options.setdefault("generator", torch.Generator().manual_seed(seed))
        if targets is not None:
            options["targets"] = targets
        return self.attack(model, images, labels, **options)


NOISE = {"repeats": 8, "levels": 4, "binary_search_steps": 2}
BLIND: dict[str, Any] = {"gradients": False, "random": True}
QUICK = {"classes": 2, "approach_steps": 8, "steps": 10, "final_steps": 10}
NOISY: dict[str, Any] = {**BLIND, "aims": False}
DECIDED: dict[str, Any] = {**NOISY, "decisions": True}

SPECS = (
    AttackSpec("fgsm-linf", attacks.fgsm),
    AttackSpec("fgsm-l2", attacks.fgsm, {"norm": "l2"}, "l2", 3.0),
    AttackSpec("fgsm-l1", attacks.fgsm, {"norm": "l1"}, "l1", 15.0),
    AttackSpec("rand-fgsm", attacks.rand_fgsm, random=True),
    AttackSpec(
        "bim", attacks.bim, {"steps": 3, "step_size": 0.08}, pixel_units=("step_size",)
    ),
    AttackSpec(
        "least-likely", attacks.least_likely, {"steps": 10, "step_size": 0.05}, budget=0.3,
        targeted=False, least_likely=True, pixel_units=("step_size",),
    ),
    AttackSpec("pgd-linf", attacks.pgd, {"steps": 3}, random=True),
    AttackSpec("pgd-l2", attacks.pgd, {"steps": 3, "norm": "l2"}, "l2", 3.0, random=True),
    AttackSpec("pgd-l1", attacks.pgd, {"steps": 5, "norm": "l1"}, "l1", 15.0, random=True),
    AttackSpec("pgd-still-linf", attacks.pgd, {"steps": 3, "random_start": False}),
    AttackSpec(
        "pgd-still-l1", attacks.pgd, {"steps": 5, "norm": "l1", "random_start": False}, "l1", 15.0
    ),
    AttackSpec("pgd-restarts", attacks.pgd, {"steps": 2, "restarts": 3}, random=True),
    AttackSpec("momentum", attacks.mi_fgsm, {"steps": 3}),
    AttackSpec("auto-pgd-linf", attacks.auto_pgd, {"steps": 5}, random=True),
    AttackSpec("auto-pgd-l2", attacks.auto_pgd, {"steps": 5, "norm": "l2"}, "l2", 3.0, random=True),
    AttackSpec(
        "auto-pgd-l1", attacks.auto_pgd, {"steps": 10, "norm": "l1"}, "l1", 15.0, random=True,
        settles=True,
    ),
    AttackSpec(
        "auto-pgd-still-l1", attacks.auto_pgd, {"steps": 10, "norm": "l1", "random_start": False},
        "l1", 15.0,
    ),
    AttackSpec(
        "auto-pgd-aimed", attacks.auto_pgd,
        {"steps": 5, "target_classes": 2, "restarts": 2, "loss": targeted_dlr,
         "stop_on_success": True},
        random=True, targeted=False,
    ),
    AttackSpec("fab-linf", attacks.fab, {"steps": 5}, budget=None),
    AttackSpec("fab-l2", attacks.fab, {"steps": 5, "norm": "l2"}, "l2", budget=None),
    AttackSpec("fab-l1", attacks.fab, {"steps": 5, "norm": "l1"}, "l1", budget=None),
    AttackSpec(
        "fab-aimed", attacks.fab, {"steps": 5, "target_classes": 3}, budget=None, targeted=False
    ),
    AttackSpec("deepfool-l2", attacks.deepfool, norm="l2", budget=None, targeted=False),
    AttackSpec(
        "deepfool-l2-few", attacks.deepfool, {"candidates": 3}, "l2", budget=None, targeted=False
    ),
    AttackSpec("fab-l2-few", attacks.fab, {"steps": 5, "norm": "l2", "candidates": 3}, "l2", None),
    AttackSpec("ddn", attacks.ddn, {"steps": 20}, "l2", budget=None),
    AttackSpec("alma-l2", attacks.alma, {"steps": 30}, "l2", budget=None),
    AttackSpec("alma-l1", attacks.alma, {"steps": 40, "norm": "l1"}, "l1", budget=None),
    AttackSpec("superdeepfool", attacks.superdeepfool, {"steps": 5}, "l2", budget=None),
    AttackSpec(
        "ead", attacks.ead,
        {"binary_search_steps": 2, "steps": 12, "step_size": 0.1, "initial_constant": 2.0},
        norm="l1", budget=None,
    ),
    AttackSpec(
        "minimum-norm-linf", attacks.minimum_norm, {"norm": "linf"} | QUICK, budget=None
    ),
    AttackSpec("minimum-norm-l2", attacks.minimum_norm, QUICK, "l2", budget=None),
    AttackSpec("minimum-norm-l1", attacks.minimum_norm, {"norm": "l1"} | QUICK, "l1", budget=None),
    AttackSpec(
        "minimum-norm-l0", attacks.minimum_norm,
        {"norm": "l0", "classes": 2, "approach_steps": 30, "steps": 20, "final_steps": 4},
        "l0", budget=None,
    ),
    AttackSpec("fmn-linf", attacks.fmn, {"norm": "linf", "steps": 20}, budget=None),
    AttackSpec("fmn-l2", attacks.fmn, {"norm": "l2", "steps": 20}, "l2", budget=None),
    AttackSpec(
        "fmn-l1", attacks.fmn, {"norm": "l1", "steps": 20, "patience": 5}, "l1", budget=None
    ),
    AttackSpec("fmn-l0", attacks.fmn, {"norm": "l0", "steps": 40}, "l0", budget=None),
    AttackSpec("sigma-zero", attacks.sigma_zero, {"steps": 30}, "l0", budget=None),
    AttackSpec(
        "sigma-zero-patient", attacks.sigma_zero, {"steps": 40, "patience": 8}, "l0", budget=None
    ),
    AttackSpec(
        "brendel-bethge-l2", attacks.brendel_bethge, {"steps": 8, "decays": 3}, "l2", budget=None
    ),
    AttackSpec(
        "brendel-bethge-linf", attacks.brendel_bethge, {"steps": 8, "decays": 3, "norm": "linf"},
        budget=None,
    ),
    AttackSpec(
        "brendel-bethge-l1", attacks.brendel_bethge, {"steps": 6, "decays": 3, "norm": "l1"}, "l1",
        budget=None,
    ),
    AttackSpec(
        "brendel-bethge-l0", attacks.brendel_bethge, {"steps": 6, "decays": 3, "norm": "l0"}, "l0",
        budget=None,
    ),
    AttackSpec(
        "deepfool-linf", attacks.deepfool, {"norm": "linf"}, budget=None, targeted=False
    ),
    AttackSpec("on-manifold", borrowed.on_manifold, norm="l2", budget=None),
    AttackSpec(
        "latent-descent", borrowed.latent_descent, norm="l2", budget=None, gradients=False,
        aims=False,
    ),
    AttackSpec(
        "greedy-explanation", borrowed.greedy_explanation, norm="l0", budget=None, gradients=False,
        aims=False,
    ),
    AttackSpec("jsma", attacks.jsma, {"gamma": 0.03}, "l0", budget=None),
    AttackSpec(
        "jsma-logits-light", attacks.jsma, {"gamma": 0.03, "form": "logits", "theta": -1}, "l0",
        budget=None, fools=0.5, pixel_units=("theta",),
    ),
    AttackSpec("salt-and-pepper", attacks.salt_and_pepper, NOISE, "l0", budget=None, **DECIDED),
    AttackSpec("gaussian-noise", attacks.gaussian_noise, NOISE, "l2", budget=None, **DECIDED),
    AttackSpec("uniform-noise", attacks.uniform_noise, NOISE, budget=None, fools=0.6, **DECIDED),
    AttackSpec("boundary", attacks.boundary, {"steps": 20}, "l2", budget=None, **DECIDED),
    AttackSpec(
        "hop-skip-jump-l2", attacks.hop_skip_jump, {"steps": 2, "initial_directions": 30}, "l2",
        budget=None, **DECIDED,
    ),
    AttackSpec(
        "hop-skip-jump-linf", attacks.hop_skip_jump,
        {"steps": 2, "initial_directions": 30, "norm": "linf", "queries": 120}, budget=None,
        **DECIDED,
    ),
    AttackSpec(
        "rays", attacks.rays, {"queries": 80}, budget=None, gradients=False, aims=False,
        decisions=True,
    ),
    AttackSpec("square-linf", attacks.square, {"queries": 25}, budget=0.4, fools=0.6, **NOISY),
    AttackSpec(
        "square-l2", attacks.square, {"queries": 25, "norm": "l2"}, "l2", 7.0, fools=0.6, **NOISY
    ),
    AttackSpec(
        "square-l1", attacks.square, {"queries": 25, "norm": "l1"}, "l1", 60.0, fools=0.5, **NOISY
    ),
    AttackSpec(
        "one-pixel", attacks.one_pixel,
        {"pixels": 200, "population": 12, "generations": 4, "base": "best",
         "batch_size": 7}, "l0", budget=None,
        **NOISY,
    ),
    AttackSpec(
        "pointwise", attacks.pointwise, {"restarts": 1, "norm": "l2", "queries": 200}, "l2",
        budget=None, **DECIDED,
    ),
    AttackSpec(
        "finite-difference-spsa", attacks.finite_difference, {"steps": 3, "samples": 60},
        budget=0.3, **BLIND,
    ),
    AttackSpec(
        "finite-difference-nes", attacks.finite_difference,
        {"steps": 2, "samples": 60, "estimator": "nes", "norm": "l2", "batch_size": 50}, "l2", 7.0,
        **BLIND,
    ),
    AttackSpec("transfer", borrowed.transfer, gradients=False),
    AttackSpec("substitute", borrowed.substitute, budget=0.4, fools=0.7, shared=True, **DECIDED),
    AttackSpec(
        "carlini-wagner-l2", attacks.carlini_wagner_l2,
        {"binary_search_steps": 2, "steps": 12, "step_size": 0.3, "initial_constant": 2.0},
        norm="l2", budget=None,
    ),
    AttackSpec(
        "universal-l2", attacks.universal, {"passes": 2, "batch_size": 2, "norm": "l2"}, "l2", 8.0,
        fools=0.7, targeted=False, shared=True,
    ),
    AttackSpec(
        "universal-ascent", attacks.universal, {"passes": 4, "method": "ascent"}, budget=0.3,
        targeted=False, shared=True,
    ),
    AttackSpec(
        "adversarial-patch", attacks.adversarial_patch, {"steps": 40, "smallest": 0.9}, "l0", 400,
        fools=0.6, random=True, shared=True, aims=False,
    ),
    AttackSpec(
        "carlini-wagner-linf", attacks.carlini_wagner_linf,
        {"steps": 12, "step_size": 0.3, "initial_constant": 1.0, "largest_constant": 2.0,
         "decrease": 0.7}, budget=None,
    ),
    AttackSpec(
        "carlini-wagner-l0", attacks.carlini_wagner_l0,
        {"steps": 7, "step_size": 0.3, "initial_constant": 50.0, "largest_constant": 100.0,
         "drop": 0.7}, norm="l0", budget=None,
    ),
)  # fmt: skip
