"""The training recipe of every network: `RECIPES` has those of the zoo, by name.

In this order: networks trained on clean images, defensive distillation, networks trained on
attacked images, and two that are not in the zoo, for spoken words and for faces. A recipe may need
attacks and defenses, which is why this module is above both. Where a paper gives a constant
learning rate, ours falls to zero at the end: fewer epochs reach the same accuracy, and the card
says how many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.optim import SGD, Adam

from armsrace.attacks import ddn, pgd
from armsrace.datasets import Dataset
from armsrace.datasets.speech import Sounds
from armsrace.defenses.adversarial_training import (
    adversarial_loss,
    ensemble_images,
    epsilon_warmup,
    fgsm_images,
    pgd_images,
    rand_fgsm_images,
    trades,
)
from armsrace.defenses.analysis_by_synthesis.free_radius import (
    radius_loss,
    started_by_clusters,
)
from armsrace.defenses.distillation import Teacher, at_temperature, distilled_from
from armsrace.defenses.interval_bounds import interval_schedule
from armsrace.defenses.latent_projection import LatentSearch, invert
from armsrace.defenses.randomized_smoothing import gaussian_noise_loss
from armsrace.defenses.robust_manifold import from_weights, robust_manifold_loss
from armsrace.models import zoo
from armsrace.models.audio import sound_classifier
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.models.gan import critic
from armsrace.models.layers import predict
from armsrace.models.zoo import TEMPERATURES
from armsrace.precision import reduced_precision
from armsrace.training.gan import GANTrainer, r1_loss, wgan_gp
from armsrace.training.loop import fit
from armsrace.training.objectives import (
    class_evidence,
    diverse,
    evidence_bound,
    reconstruction,
    separate_confidences,
)
from armsrace.training.recipe import (
    Objective,
    Recipe,
    always,
    augmented,
    balanced,
    cross_entropy,
    in_reduced_precision,
    one_cycle,
)

# Networks trained on clean images.


def only(classes: tuple[int, ...], data: Dataset) -> Dataset:
    """The images of these classes, relabeled 0, 1, … in the order given."""
    wanted = torch.tensor(classes, device=data.labels.device)
    kept = torch.isin(data.labels, wanted)
    places = (data.labels[kept][:, None] == wanted).int().argmax(dim=1)
    return data.where(kept, places)


def every_other_pair(first: int, data: Dataset) -> Dataset:
    """The images at places 0, 1, 4, 5, … (first=0) or 2, 3, 6, 7, … (first=1).

    Pairs, since MNIST's two populations of writers alternate in its training file: a network
    trained on every other image is a point worse on the rest, which two halves of one source should
    not be.
    """
    places = torch.arange(len(data), device=data.labels.device)
    chosen = places // 2 % 2 == first
    return data.where(chosen, data.labels[chosen])


three_against_seven = partial(only, (3, 7))


def beside_attacked(name: str, count: int, data: Dataset) -> Dataset:
    """The first `count` images (class 0), and adversarial ones made of them (class 1).

    Those at even places are attacked by DDN in L2, those at odd places by PGD in L∞ (ε = .2), on
    the zoo's network `name`. Images that the network misclassifies, or that the attack leaves
    correctly classified, have no adversarial image.
    """
    data = data.take(min(count, len(data)))
    model = zoo.load(name, data.images.device)
    by_ddn = partial(ddn, steps=30)
    by_pgd = partial(pgd, epsilon=0.2, steps=20, random_start=False)
    right = predict(model, data.images).argmax(dim=1) == data.labels
    attacked = []
    for part in right.nonzero()[:, 0].split(1000):
        images, labels = data.images[part], data.labels[part]
        for chosen, attack in ((part % 2 == 0, by_ddn), (part % 2 == 1, by_pgd)):
            if chosen.any():
                found = attack(model, images[chosen], labels[chosen])
                attacked.append(found.images[found.success])
    images = torch.cat([data.images, *attacked])
    adversarial = torch.arange(len(images), device=images.device) >= len(data)
    return replace(data, images=images, labels=adversarial.long())


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
    "linear-synthesis": Recipe(
        6, 250, Adam, one_cycle(3e-3, 0.1),
        "Adam, peak 3e-3, from k-means and principal components; how far the distance at which the "
        "nearest of five rival pieces is as cheap falls short of 2",
        objective=always(radius_loss(2.0)), start=started_by_clusters,
    ),
    "defense-gan": Recipe(
        40, 64, partial(Adam, betas=(0.0, 0.99)), one_cycle(1e-3, 0.02),
        "Adam (0, .99), peak 1e-3; logistic losses, R1 of .3 each fourth step, critic of 24 "
        "filters; running mean of the weights, .999 a step; bfloat16",
        objective=always(in_reduced_precision(r1_loss())),
        quality="frechet", around=lambda network: GANTrainer(network, critic(24, kernel=4), 0.999),
    ),
    "defense-gan-original": Recipe(
        1112, 50, partial(Adam, betas=(0.5, 0.9)), lambda progress: 1e-4,
        "Adam (.5, .9), 1e-4; WGAN-GP, five steps of the critic for one of the generator",
        objective=always(wgan_gp()), quality="frechet", gpu=True,
        around=lambda network: GANTrainer(network, critic()),
    ),
    "rbf": Recipe(
        8, 128, Adam, one_cycle(1e-2),
        "Adam, peak 1e-2; binary cross-entropy of each class's own confidence",
        objective=always(separate_confidences),
    ),
    "trained-detector": Recipe(
        20, 128, Adam, one_cycle(3e-3),
        "Adam, peak 3e-3; the first 8,000 images and as many adversarial for s3-cnn, half by DDN "
        "(L2), half by PGD (L-inf, .2)",
        select=partial(beside_attacked, "s3-cnn", 8_000),
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


# Defensive distillation: teachers at a temperature, and the students of their soft labels.


def _distillation(objective: Objective, words: str) -> Recipe:
    """A teacher's recipe, or a student's."""
    # At T = 100 momentum SGD, the paper's, still gives a constant answer after 300 steps at any
    # rate tried. Adam's steps do not depend on the scale of the gradient, which T divides.
    settings = f"Adam, peak 1e-3; {words}; bfloat16"
    reduced = always(in_reduced_precision(objective))
    return Recipe(4, 128, Adam, one_cycle(1e-3), settings, objective=reduced)


def _from_zoo(name: str) -> Callable[[torch.device], Teacher]:
    """The zoo's network, loaded when it is needed."""
    return lambda device: zoo.load(name, device)


def _teachers_name(temperature: int) -> str:
    """The zoo's name of the teacher at a temperature."""
    return f"distillation-teacher-{temperature}"


RECIPES |= {
    _teachers_name(temperature): _distillation(
        at_temperature(temperature), f"temperature {temperature}"
    )
    for temperature in TEMPERATURES
} | {
    f"distilled-{temperature}": _distillation(
        distilled_from(_from_zoo(_teachers_name(temperature)), temperature),
        f"temperature {temperature}, soft labels of {_teachers_name(temperature)}",
    )
    for temperature in TEMPERATURES
}


# Networks trained on attacked images.

_EPSILON = 0.3


def _attacked(name: str, objective: Objective, words: str) -> Recipe:
    """The recipe of another network with this objective."""
    clean = RECIPES[name]
    settings = f"{clean.settings}; {words}"
    return replace(clean, objective=always(objective), settings=settings)


def _tramer(objective: Objective, words: str, epochs: int) -> Recipe:
    """Tramèr et al.'s network A on attacked images."""
    mixed = f"half the loss on {words}, epsilon {_EPSILON:g}, labels as the model reads them"
    return replace(_attacked("tramer-a", in_reduced_precision(objective), mixed), epochs=epochs)


_NEAR = in_reduced_precision(adversarial_loss(pgd_images(1.5, 3, "l2"), 0.0))


_ON_PGD = "PGD images alone, L2, epsilon 1.5, 3 steps, in bfloat16"
_PAIRS = (
    "one batch in eight, at random: .5 of the divergence of 32 overpowered pairs, epsilon 1.5, "
    "50 steps"
)


def _retrained(objective: Objective, words: str) -> Recipe:
    """The robust manifold's retraining of s3-cnn."""
    attacked = _attacked("s3-cnn", objective, f"from s3-cnn's weights on; {words}")
    return replace(attacked, epochs=2, around=from_weights("s3-cnn"))


_AT_ONCE = 500
RECONSTRUCTION = LatentSearch(128, restarts=4, steps=60, halving=2.0)


def reconstructed(count: int, data: Dataset) -> Dataset:
    """The first `count` images with their labels, each projected to the range of the zoo's GAN.

    The search is short, four restarts of sixty steps, since thousands of images are needed.

    Args:
        count: from 1 to the number of images.
        data: the images.

    Raises:
        CheckpointError: the generator has no weights yet.
    """
    chosen = data.take(count)
    generator = zoo.load("defense-gan", chosen.images.device)
    search = replace(RECONSTRUCTION, precision=reduced_precision(chosen.images.device))
    parts = [invert(generator, part, search).images for part in chosen.images.split(_AT_ONCE)]
    return replace(chosen, images=torch.cat(parts))


RECIPES |= {
    "maxout-fgsm": _attacked(
        "maxout", adversarial_loss(fgsm_images(0.25)),
        "50% of the loss on FGSM images, epsilon 0.25",
    ),
    "s3-cnn-fgsm": _attacked(
        "s3-cnn", adversarial_loss(fgsm_images(_EPSILON), 0.0),
        "100% of the loss on FGSM images, epsilon 0.3",
    ),
    "s3-cnn-rand-fgsm": _attacked(
        "s3-cnn", adversarial_loss(rand_fgsm_images(_EPSILON, 0.05), 0.0),
        "100% of the loss on RAND+FGSM images, epsilon 0.3, alpha 0.05",
    ),
    "tramer-a-fgsm": _tramer(
        adversarial_loss(fgsm_images(_EPSILON, leak=False)), "its own FGSM images", 4
    ),
    "tramer-a-ensemble": _tramer(
        adversarial_loss(ensemble_images(_EPSILON, ("tramer-a", "tramer-c", "tramer-d"))),
        "FGSM images of itself, A, C and D in random turn", 5,
    ),
    "madry-pgd": Recipe(
        32, 128, Adam, one_cycle(1e-3),
        "Adam, peak 1e-3; PGD images alone, 5 steps and from 60% of training on 10, epsilon 0.3, "
        "growing to it over the first third; bfloat16",
        objective=lambda progress: in_reduced_precision(
            epsilon_warmup(partial(pgd_images, steps=5 if progress < 0.6 else 10), _EPSILON, 1 / 3)(
                progress
            )
        ),
    ),
    "manifold-robust": _retrained(
        robust_manifold_loss(_NEAR, epsilon=1.5), f"{_ON_PGD}; {_PAIRS}"
    ),
    "manifold-pgd": _retrained(_NEAR, _ON_PGD),
    "manifold-pairs": _retrained(
        robust_manifold_loss(at_temperature(1.0), epsilon=1.5), f"clean images; {_PAIRS}"
    ),
    "defense-gan-a-rec": replace(
        RECIPES["defense-gan-a"], epochs=16, sample=partial(reconstructed, 6_000),
        settings=f"{RECIPES['defense-gan-a'].settings}; the generator's reconstructions of the "
        "first 6,000 training images in place of these, four restarts of 60 steps",
    ),
    "carlini-wagner-trades": _attacked(
        "carlini-wagner", in_reduced_precision(trades(_EPSILON, steps=10)),
        "TRADES, beta 1, PGD of 10 steps, epsilon 0.3; bfloat16",
    ),
}  # fmt: skip


# Networks trained to be certified.

RECIPES |= {
    "smoothing-cnn": replace(
        _attacked("s3-cnn", gaussian_noise_loss(0.5), "Gaussian noise, sigma .5, not clipped"),
        epochs=10,
    ),
    **{
        f"ibp-cnn-{tenths}": Recipe(
            24, 200, Adam, one_cycle(2e-3, 0.1),
            f"Adam, peak 2e-3; interval bounds, epsilon .{tenths}, growing to it and kappa falling "
            "from 1 to .5 over the first half of training, after a twentieth on clean images",
            objective=interval_schedule(tenths / 10, warm_up=0.05, ramp_up=0.45),
        )
        for tenths in (1, 3)
    },
}  # fmt: skip


# The classifier of spoken words, which is trained in its chapter and not shipped.

_LISTENER = Recipe(6, 50, Adam, one_cycle(3e-3), "Adam, peak 3e-3, 6 epochs of batches of 50")


def listener(sounds: Sounds, seed: int = 0) -> nn.Module:
    """A classifier of waveforms (N, 1, 1, T), trained on these sounds: seconds on a CPU core."""
    return fit(sound_classifier, sounds, _LISTENER, seed=seed)[0]


# CelebA's gender task, for readers who have CelebA on disk; no weights are shipped.
#
#     faces = datasets.celeba(root, count=50_000)
#     data = Dataset(faces.images, faces.labels, "celeba", "train", "unverified", root)
#     vae, _ = fit(face_vae, data, FACES, device="cuda")
#     gender, _ = fit(gender_cnn, data, GENDER, device="cuda")
#     robust, _ = fit(gender_cnn, data, gender_robust(vae), device="cuda")
#
# None was run on CelebA here: the settings are those of our other networks of this kind.

FACES = Recipe(
    40, 128, Adam, one_cycle(1e-3), "Adam, peak 1e-3; binary cross-entropy of the pixels + KL",
    objective=always(evidence_bound), quality="error",
)  # fmt: skip
GENDER = Recipe(10, 128, Adam, one_cycle(1e-3), "Adam, peak 1e-3")


def gender_robust(
    vae: VariationalAutoencoder, *, epsilon: float = 1.5, pairs: int = 32, steps: int = 50
) -> Recipe:
    """The gender recipe on PGD images (L2) and overpowered pairs in the VAE's range.

    Args:
        vae: trained on faces.
        epsilon: of both, L2 in pixel units.
        pairs: as for `robust_manifold_loss`.
        steps: as for `robust_manifold_loss`.
    """
    base = adversarial_loss(pgd_images(epsilon, 5, "l2"), 0.0)
    return replace(
        GENDER,
        objective=always(
            robust_manifold_loss(base, epsilon=epsilon, decoder=vae, pairs=pairs, steps=steps)
        ),
        settings=f"{GENDER.settings}; PGD images, L2, and pairs, epsilon {epsilon:g}",
    )
