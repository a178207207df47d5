"""Adversarial training: a network learns from images attacked while it trains.

Goodfellow, Shlens and Szegedy 2015, §6 (FGSM); Madry et al. 2018, §3 and §4 (PGD); Tramèr et al.
2018, §3.3 and §4.1 (ensembles, RAND+FGSM); Zhang et al. 2019 (TRADES). First the images a network
is attacked with, each maker a `Generate`, then the objectives that weigh them.
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
    """FGSM images at epsilon.

    Args:
        epsilon: L∞, in pixel units.
        leak: whether the loss is that of the label. If not, it is that of the predicted class: a
            one-step image made with the label reveals the label ("label leaking", Kurakin et al.
            2017); the authors' code of Tramèr et al. does without it.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> made = defenses.fgsm_images(0.2)(model, digits.images, digits.labels)
        >>> (made - digits.images).abs().max()
        tensor(0.2000)
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        classes = labels if leak else predict(model, images).argmax(dim=1).clone()
        return fgsm(model, images, classes, epsilon=epsilon).images

    return generate


def rand_fgsm_images(epsilon: float, alpha: float) -> Generate:
    """RAND+FGSM images at epsilon, with the predicted class in place of the label.

    Args:
        epsilon: L∞, in pixel units.
        alpha: the part of it that is a random step.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> defenses.rand_fgsm_images(0.2, alpha=0.1)(model, digits.images, digits.labels).shape
        torch.Size([8, 1, 28, 28])
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        predicted = predict(model, images).argmax(dim=1).clone()
        attack = partial(rand_fgsm, epsilon=epsilon, alpha=alpha, generator=_fresh_generator())
        return attack(model, images, predicted).images

    return generate


def pgd_images(epsilon: float, steps: int, norm: Norm = "linf") -> Generate:
    """PGD images at epsilon, from a random start, with the step size 2.5 epsilon / steps.

    Args:
        epsilon: in pixel units of the norm.
        steps: of PGD.
        norm: "linf", "l2" or "l1".

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> defenses.pgd_images(0.2, steps=3)(model, digits.images, digits.labels).shape
        torch.Size([8, 1, 28, 28])
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attack = partial(pgd, epsilon=epsilon, steps=steps, norm=norm, generator=_fresh_generator())
        return attack(model, images, labels).images

    return generate


def ensemble_images(epsilon: float, names: Sequence[str]) -> Generate:
    """FGSM images of a network drawn at random for each batch: the model itself, or one of the zoo.

    The others are trained beforehand and stay as they are, so that their images do not depend on
    the model.

    Args:
        epsilon: L∞, in pixel units.
        names: the other networks, by their names in the zoo.

    References:
        Tramèr et al. 2018, "Ensemble adversarial training", §3.3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> defenses.ensemble_images(0.2, ["s3-cnn"])(model, digits.images, digits.labels).shape
        torch.Size([8, 1, 28, 28])
    """
    loaded = cache(zoo.load)
    attack = fgsm_images(epsilon, leak=False)

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        source = int(torch.randint(len(names) + 1, ()))
        if source == len(names):
            return attack(model, images, labels)
        return attack(loaded(names[source], images.device), images, labels)

    return generate


def _fresh_generator() -> torch.Generator:
    """A generator seeded by torch's own: an attack without one draws the same at each call."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))


def adversarial_loss(generate: Generate, alpha: float = 0.5) -> Objective:
    """The objective α J(clean) + (1 − α) J(attacked), mean over a batch; α = 0 is Madry et al.'s.

    Args:
        generate: the attacked images.
        alpha: α in [0, 1].

    Differences from the paper:
        * The images are made in evaluation mode, without dropout; the papers do not say.

    References:
        Goodfellow, Shlens and Szegedy 2015, §6; Madry et al. 2018, §2.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> objective = defenses.adversarial_loss(defenses.fgsm_images(0.2), alpha=0.5)
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


def epsilon_warmup(
    generate: Callable[[float], Generate], epsilon: float, share: float
) -> Callable[[float], Objective]:
    """Training on attacked images only, the budget growing linearly over the first part of it.

    At the full budget from the first step a small network never gets away from a constant answer
    (Madry et al. 2018, §4).

    Args:
        generate: from a budget to the attacked images.
        epsilon: the full budget.
        share: the fraction of training over which the budget grows, in (0, 1].

    Returns:
        From the progress of training, 0 to 1, to the objective.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> objective = defenses.epsilon_warmup(defenses.fgsm_images, epsilon=0.2, share=0.5)
        >>> early, late = (objective(x)(model, digits.images, digits.labels) for x in (0.1, 0.9))
        >>> bool(early < late)
        True
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share:g}")
    return lambda progress: adversarial_loss(
        generate(epsilon * min(progress / share, 1.0)), alpha=0.0
    )


def trades(epsilon: float, steps: int, beta: float = 1.0) -> Objective:
    """TRADES: J(clean) + β · KL(f(clean) ‖ f(attacked)), attacked by PGD on that divergence.

    Args:
        epsilon: L∞, in pixel units.
        steps: of PGD.
        beta: β = 1 / λ, >= 0.

    Differences from the paper:
        * PGD starts uniformly in the ball; the authors' start is a thousandth of a normal number
          away from the image.

    Cost:
        Per batch `steps` + 1 forward and backward passes more than plain training, and a forward
        pass.

    References:
        Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy",
        eq. 5.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> objective = defenses.trades(0.2, steps=3, beta=2.0)
        >>> objective(model, digits.images, digits.labels).ndim
        0
    """
    check_at_least("beta", beta, 0)

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        clean = predict(model, images).softmax(dim=1).clone()
        x_adv = pgd(
            model, images, labels, epsilon=epsilon, steps=steps,
            loss=lambda logits, labels: _divergence(clean, logits), generator=_fresh_generator(),
        ).images  # fmt: skip
        logits = model(images)
        divergence = _divergence(logits.softmax(dim=1), model(x_adv)).mean()
        return functional.cross_entropy(logits, labels) + beta * divergence

    return objective


def _divergence(confidences: Tensor, logits: Tensor) -> Tensor:
    """KL(confidences ‖ softmax of logits) (N,), both (N, K)."""
    return functional.kl_div(logits.log_softmax(dim=1), confidences, reduction="none").sum(dim=1)
