"""Training on attacked images: FGSM, RAND+FGSM, PGD, an ensemble's images, TRADES.

Goodfellow, Shlens and Szegedy 2015, §6; Madry et al. 2018, §3; Tramèr et al. 2018, §3.3 and §4.1;
Zhang et al. 2019 (TRADES). A `Generate` makes the images, an objective weighs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.attacks import fgsm, pgd, rand_fgsm
from armsrace.contracts import Norm, check_at_least
from armsrace.models import zoo
from armsrace.models.layers import predict
from armsrace.training.recipe import Objective, cross_entropy

Generate = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images (N, C, H, W), labels (N,)) -> attacked images of the same shape."""


def fgsm_images(epsilon: float, *, leak: bool = True) -> Generate:
    """FGSM images at epsilon, in pixel units (L∞).

    With leak=False the step goes up the loss of the class that the model reads, not of the label:
    a one-step image made with the label tells the model which it was (Kurakin et al. 2017, "label
    leaking"; the authors' code of Tramèr et al. does without it).
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        told = labels if leak else predict(model, images).argmax(dim=1).clone()
        return fgsm(model, images, told, epsilon=epsilon).images

    return generate


def rand_fgsm_images(epsilon: float, alpha: float) -> Generate:
    """RAND+FGSM images at epsilon, of it alpha at random; the class that the model reads."""

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        told = predict(model, images).argmax(dim=1).clone()
        attack = partial(rand_fgsm, epsilon=epsilon, alpha=alpha, generator=_fresh())
        return attack(model, images, told).images

    return generate


def pgd_images(epsilon: float, steps: int, norm: Norm = "linf") -> Generate:
    """PGD images at epsilon, in pixel units of norm, from a random start, step 2.5 epsilon / steps.

    norm: "linf", "l2" or "l1".
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attack = partial(pgd, epsilon=epsilon, steps=steps, norm=norm, generator=_fresh())
        return attack(model, images, labels).images

    return generate


def ensemble_images(epsilon: float, names: Sequence[str]) -> Generate:
    """FGSM images of a network drawn for each batch: the model itself, or one of the zoo's.

    The others are trained beforehand and stay as they are, so their images do not depend on the
    model (Tramèr et al. 2018, §3.3). Raises CheckpointError where one has no weights yet.
    """
    loaded = cache(zoo.load)
    own = fgsm_images(epsilon, leak=False)

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        source = int(torch.randint(len(names) + 1, ()))
        if source == len(names):
            return own(model, images, labels)
        return own(loaded(names[source], images.device), images, labels)

    return generate


def mixture(generate: Generate, alpha: float = 0.5) -> Objective:
    """The objective α J(clean) + (1 − α) J(attacked), mean over a batch; alpha 0 is Madry's.

    The images are made in evaluation mode, without dropout, while the papers do not say. Raises
    ValueError where alpha is not in [0, 1].
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
    """
    check_at_least("beta", beta, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        known = predict(model, images).softmax(dim=1).clone()
        apart = partial(_divergence, known)
        attacked = pgd(
            model, images, labels, epsilon=epsilon, steps=steps, loss=apart, generator=_fresh()
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
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share:g}")
    return lambda progress: mixture(generate(epsilon * min(progress / share, 1.0)), alpha=0.0)


def _divergence(known: Tensor, logits: Tensor, labels: Tensor | None = None) -> Tensor:
    return functional.kl_div(logits.log_softmax(dim=1), known, reduction="none").sum(dim=1)


def _fresh() -> torch.Generator:
    # An attack that is not told otherwise starts alike at each call: training needs new starts.
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))
