"""The recipe of every network of the zoo that is trained without attacks.

Where a paper gives a constant learning rate, ours falls to zero at the end: fewer epochs reach the
same accuracy, and the card says how many.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch.optim import SGD, Adam

from armsrace.datasets import Dataset
from armsrace.models.gan import critic
from armsrace.training.augmentation import augmented
from armsrace.training.duel import Duel
from armsrace.training.logistic import together
from armsrace.training.orders import balanced
from armsrace.training.recipe import Recipe, always, cross_entropy, in_reduced_precision, one_cycle
from armsrace.training.reconstruction import diverse, reconstruction
from armsrace.training.variational import class_evidence, evidence_bound, separate_confidences
from armsrace.training.wasserstein import in_turns


def only(classes: tuple[int, ...], data: Dataset) -> Dataset:
    """The images of these classes, relabelled 0, 1, … in the order given."""
    wanted = torch.tensor(classes, device=data.labels.device)
    kept = torch.isin(data.labels, wanted)
    places = (data.labels[kept][:, None] == wanted).int().argmax(dim=1)
    return data.where(kept, places)


def every_other_pair(first: int, data: Dataset) -> Dataset:
    """The images at places 0, 1, 4, 5, … (first=0) or 2, 3, 6, 7, … (first=1).

    Pairs, since MNIST's two populations of writers alternate in its training file: a network that
    saw every other image is a point worse on the rest, which halves of one source should not be.
    """
    places = torch.arange(len(data), device=data.labels.device)
    chosen = places // 2 % 2 == first
    return data.where(chosen, data.labels[chosen])


three_against_seven = partial(only, (3, 7))
_sgd = partial(SGD, lr=0.0, momentum=0.9, nesterov=True)

_SOFTMAX = Recipe(
    30, 128, partial(SGD, lr=0.0, weight_decay=1e-5), one_cycle(0.2), "SGD, peak 0.2, decay 1e-5"
)
_KERAS = Recipe(12, 64, Adam, one_cycle(1e-3), "Adam, peak 1e-3")

_CARLINI_WAGNER = Recipe(
    16, 128, partial(_sgd, weight_decay=1e-4), one_cycle(0.05),
    "SGD, Nesterov momentum .9, peak .05, decay 1e-4",
)  # fmt: skip

_MAGNET = Recipe(
    3, 32, Adam, one_cycle(0.03),
    "Adam, peak .03; squared error from images with noise N(0, .1), activity L2 1e-9",
    objective=always(reconstruction()), quality="error",
)  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "softmax": _SOFTMAX,
    "logistic-3-vs-7": Recipe(
        30, 128, _SOFTMAX.optimizer, one_cycle(0.2), "SGD, peak 0.2, decay 1e-5; 3s and 7s only",
        select=three_against_seven,
    ),
    "maxout": Recipe(20, 100, _sgd, one_cycle(0.05), "SGD, Nesterov momentum .9, peak .05"),
    "s3-cnn": Recipe(20, 256, Adam, one_cycle(2e-3), "Adam, peak 2e-3"),
    "carlini-wagner": _CARLINI_WAGNER,
    **{
        f"carlini-wagner-{name}": replace(
            _CARLINI_WAGNER, settings=f"{_CARLINI_WAGNER.settings}; {name} pairs of images only",
            sample=partial(every_other_pair, first),
        )
        for first, name in enumerate(("even", "odd"))
    },
    "lenet": Recipe(10, 64, Adam, one_cycle(1e-3), "Adam, peak 1e-3"),
    "dense-500-150": Recipe(10, 64, Adam, one_cycle(1e-3), "Adam, peak 1e-3"),
    "cifar-cnn": Recipe(
        30, 128, partial(_sgd, weight_decay=5e-4), one_cycle(0.2),
        "SGD, Nesterov momentum .9, peak .2, decay 5e-4; mirrored, shifted by up to 4 pixels; "
        "bfloat16",
        objective=always(augmented),
    ),
    "cifar-resnet": Recipe(
        16, 128, partial(_sgd, weight_decay=5e-4), one_cycle(0.2),
        "SGD, Nesterov momentum .9, peak .2, decay 5e-4; mirrored, shifted by up to 4 pixels; "
        "bfloat16",
        objective=always(augmented),
    ),
    "madry": Recipe(12, 50, Adam, one_cycle(1e-3), "Adam, peak 1e-3"),
    **{
        name: replace(
            _KERAS, epochs=6, settings=f"{_KERAS.settings}; bfloat16",
            objective=always(in_reduced_precision(cross_entropy)),
        )
        for name in (
            "schott-cnn", *(f"tramer-{k}" for k in "abcd"), *(f"defense-gan-{k}" for k in "abcdef")
        )
    },
    "s3-vae": Recipe(
        15, 128, Adam, one_cycle(2e-3), "Adam, peak 2e-3; binary cross-entropy of the pixels + KL",
        objective=always(evidence_bound), quality="error",
    ),
    "manifold-vae": Recipe(
        20, 128, Adam, one_cycle(1e-3),
        "Adam, peak 1e-3; binary cross-entropy of the pixels + KL",
        objective=always(evidence_bound), quality="error",
    ),
    "abs": Recipe(
        128, 120, Adam, one_cycle(3e-3),
        "Adam, peak 3e-3; squared error + KL, as many images of each class in a batch",
        objective=always(class_evidence), order=balanced,
    ),
    "defense-gan": Recipe(
        40, 64, partial(Adam, betas=(0.0, 0.99)), one_cycle(1e-3, 0.02),
        "Adam (0, .99), peak 1e-3; logistic losses, R1 of .3 each fourth step, critic of 24 "
        "filters; running mean of the weights, .999 a step; bfloat16",
        objective=always(in_reduced_precision(together())),
        quality="frechet", around=lambda network: Duel(network, critic(24, kernel=4), 0.999),
    ),
    "defense-gan-original": Recipe(
        1112, 50, partial(Adam, betas=(0.5, 0.9)), lambda progress: 1e-4,
        "Adam (.5, .9), 1e-4; WGAN-GP, five steps of the critic for one of the generator",
        objective=always(in_turns()), quality="frechet", gpu=True,
        around=lambda network: Duel(network, critic()),
    ),
    "rbf": Recipe(
        8, 128, Adam, one_cycle(1e-2),
        "Adam, peak 1e-2; binary cross-entropy of each class's own confidence",
        objective=always(separate_confidences),
    ),
    "magnet-1": _MAGNET,
    "magnet-2": _MAGNET,
    **{
        f"magnet-{number}-other": replace(
            _MAGNET, epochs=6, settings=f"{_MAGNET.settings}; odd pairs of images only",
            sample=partial(every_other_pair, 1),
        )
        for number in (1, 2)
    },
    "magnet-team": replace(
        _MAGNET, epochs=2, settings=f"{_MAGNET.settings}; less .2 of the squared distance to the "
        "mean of the eight",
        objective=always(diverse(0.2)),
    ),
}  # fmt: skip
