"""Training on attacked images (Goodfellow, Shlens and Szegedy 2015, §6)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from armsrace.attacks import fgsm
from armsrace.contracts import check_at_least
from armsrace.training.recipe import Objective, Recipe, cross_entropy
from armsrace.training.recipes import RECIPES as CLEAN


def fgsm_mixture(epsilon: float, alpha: float = 0.5) -> Objective:
    """The objective α J(x) + (1 − α) J(x + ε sign ∇J(x)), mean over a batch.

    epsilon is in pixel units (L∞); alpha in [0, 1] weighs the clean images. The step is taken in
    evaluation mode, without dropout, while the paper does not say. Raises ValueError naming the
    argument and the rule it breaks.
    """
    check_at_least("epsilon", epsilon, 0)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha:g}")

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attacked = fgsm(model, images, labels, epsilon=epsilon).images
        adversarial = cross_entropy(model, attacked, labels)
        if alpha == 0:
            return adversarial
        return alpha * cross_entropy(model, images, labels) + (1 - alpha) * adversarial

    return objective


def _attacked(name: str, epsilon: float, alpha: float) -> Recipe:
    clean = CLEAN[name]
    words = f"{clean.settings}; {1 - alpha:.0%} of the loss on FGSM images, epsilon {epsilon:g}"
    return replace(clean, objective=fgsm_mixture(epsilon, alpha), settings=words)


RECIPES: dict[str, Recipe] = {
    "maxout-fgsm": _attacked("maxout", epsilon=0.25, alpha=0.5),
    "s3-cnn-fgsm": _attacked("s3-cnn", epsilon=0.3, alpha=0.0),
}
