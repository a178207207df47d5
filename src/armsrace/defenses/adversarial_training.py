"""Training on attacked images: mixtures with clean ones, a growing budget, TRADES.

Goodfellow, Shlens and Szegedy 2015, §6; Madry et al. 2018, §3 and §4; Zhang et al. 2019 (TRADES).
A `Generate` of `adversarial_images` makes the images, an objective weighs them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from armsrace.attacks import pgd
from armsrace.contracts import check_at_least
from armsrace.defenses.adversarial_images import Generate, fresh_generator
from armsrace.models.layers import predict
from armsrace.training.recipe import Objective, cross_entropy


def mixture(generate: Generate, alpha: float = 0.5) -> Objective:
    """The objective α J(clean) + (1 − α) J(attacked), mean over a batch; alpha 0 is Madry's.

    The images are made in evaluation mode, without dropout, while the papers do not say. Raises
    ValueError where alpha is not in [0, 1].

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> objective = defenses.mixture(defenses.fgsm_images(0.2), alpha=0.5)
    >>> objective(model, digits.images, digits.labels).ndim
    0
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha:g}")

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        adversarial = cross_entropy(model, generate(model, images, labels), labels)
        if alpha == 0:
            return adversarial
        return alpha * cross_entropy(model, images, labels) + (1 - alpha) * adversarial

    return objective


def trades(epsilon: float, steps: int, beta: float = 1.0) -> Objective:
    """J(clean) + beta · KL(f(clean) ‖ f(attacked)), attacked by PGD on that divergence.

    Zhang et al. 2019, eq. 5 with beta = 1/λ. The start is uniform in the ball, while the authors'
    is a thousandth of a normal number away from the image. Raises ValueError as `pgd` does, and
    where beta is negative.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> objective = defenses.trades(0.2, steps=3, beta=2.0)
    >>> objective(model, digits.images, digits.labels).ndim
    0
    """
    check_at_least("beta", beta, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known = predict(model, images).softmax(dim=1).clone()
        apart = partial(_divergence, known)
        attacked = pgd(
            model,
            images,
            labels,
            epsilon=epsilon,
            steps=steps,
            loss=apart,
            generator=fresh_generator(),
        ).images
        logits = model(images)
        divergence = _divergence(logits.softmax(dim=1), model(attacked)).mean()
        return functional.cross_entropy(logits, labels) + beta * divergence

    return objective


def warmed_up(
    generate: Callable[[float], Generate], epsilon: float, share: float
) -> Callable[[float], Objective]:
    """Training on attacked images alone, the budget growing linearly over the first `share`.

    At the full budget from the first step a small network never leaves the constant answer
    (Madry et al. 2018, §4). Raises ValueError where the share is not in (0, 1].

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> objective = defenses.warmed_up(defenses.fgsm_images, epsilon=0.2, share=0.5)
    >>> early, late = (objective(x)(model, digits.images, digits.labels) for x in (0.1, 0.9))
    >>> bool(early < late)
    True
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share:g}")
    return lambda progress: mixture(generate(epsilon * min(progress / share, 1.0)), alpha=0.0)


def _divergence(known: Tensor, logits: Tensor, labels: Tensor | None = None) -> Tensor:
    return functional.kl_div(logits.log_softmax(dim=1), known, reduction="none").sum(dim=1)
