"""Images that a network under training is attacked with: FGSM, RAND+FGSM, PGD, an ensemble's.

Goodfellow, Shlens and Szegedy 2015, §6; Madry et al. 2018, §3; Tramèr et al. 2018, §3.3 and §4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn

from armsrace.attacks import fgsm, pgd, rand_fgsm
from armsrace.contracts import Norm
from armsrace.models import zoo
from armsrace.models.layers import predict

Generate = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model, images (N, C, H, W), labels (N,)) -> attacked images of the same shape."""


def fgsm_images(epsilon: float, *, leak: bool = True) -> Generate:
    """FGSM images at epsilon, in pixel units (L∞).

    With leak=False the step goes up the loss of the class that the model reads, not of the label:
    a one-step image made with the label tells the model which it was (Kurakin et al. 2017, "label
    leaking"; the authors' code of Tramèr et al. does without it).

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> made = defenses.fgsm_images(0.2)(model, digits.images, digits.labels)
    >>> (made - digits.images).abs().max()
    tensor(0.2000)
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        told = labels if leak else predict(model, images).argmax(dim=1).clone()
        return fgsm(model, images, told, epsilon=epsilon).images

    return generate


def rand_fgsm_images(epsilon: float, alpha: float) -> Generate:
    """RAND+FGSM images at epsilon, of it alpha at random; the class that the model reads.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> defenses.rand_fgsm_images(0.2, alpha=0.1)(model, digits.images, digits.labels).shape
    torch.Size([8, 1, 28, 28])
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        told = predict(model, images).argmax(dim=1).clone()
        attack = partial(rand_fgsm, epsilon=epsilon, alpha=alpha, generator=fresh_generator())
        return attack(model, images, told).images

    return generate


def pgd_images(epsilon: float, steps: int, norm: Norm = "linf") -> Generate:
    """PGD images at epsilon, in pixel units of norm, from a random start, step 2.5 epsilon / steps.

    norm: "linf", "l2" or "l1".

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> defenses.pgd_images(0.2, steps=3)(model, digits.images, digits.labels).shape
    torch.Size([8, 1, 28, 28])
    """

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        attack = partial(pgd, epsilon=epsilon, steps=steps, norm=norm, generator=fresh_generator())
        return attack(model, images, labels).images

    return generate


def ensemble_images(epsilon: float, names: Sequence[str]) -> Generate:
    """FGSM images of a network drawn for each batch: the model itself, or one of the zoo's.

    The others are trained beforehand and stay as they are, so their images do not depend on the
    model (Tramèr et al. 2018, §3.3). Raises CheckpointError where one has no weights yet.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> defenses.ensemble_images(0.2, ["s3-cnn"])(model, digits.images, digits.labels).shape
    torch.Size([8, 1, 28, 28])
    """
    loaded = cache(zoo.load)
    own = fgsm_images(epsilon, leak=False)

    def generate(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        source = int(torch.randint(len(names) + 1, ()))
        if source == len(names):
            return own(model, images, labels)
        return own(loaded(names[source], images.device), images, labels)

    return generate


def fresh_generator() -> torch.Generator:
    """A generator seeded by torch's own: an attack that is told of none starts alike each time."""
    return torch.Generator().manual_seed(int(torch.randint(2**62, ())))
