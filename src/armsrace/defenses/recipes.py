"""The recipe of every network of the zoo that is trained on attacked images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch.optim import Adam

from armsrace.defenses.adversarial_images import (
    ensemble_images,
    fgsm_images,
    pgd_images,
    rand_fgsm_images,
)
from armsrace.defenses.adversarial_training import mixture, trades, warmed_up
from armsrace.defenses.distillation import RECIPES as DISTILLATION
from armsrace.defenses.manifold import from_weights, with_pairs
from armsrace.defenses.reconstructions import reconstructed
from armsrace.training.recipe import Objective, Recipe, always, in_reduced_precision, one_cycle
from armsrace.training.recipes import RECIPES as CLEAN

EPSILON = 0.3


def _attacked(name: str, objective: Objective, words: str) -> Recipe:
    clean = CLEAN[name]
    settings = f"{clean.settings}; {words}"
    return replace(clean, objective=always(objective), settings=settings)


def _tramer(objective: Objective, words: str, epochs: int) -> Recipe:
    mixed = f"half the loss on {words}, epsilon {EPSILON:g}, labels as the model reads them"
    return replace(_attacked("tramer-a", in_reduced_precision(objective), mixed), epochs=epochs)


_NEAR = in_reduced_precision(mixture(pgd_images(1.5, 3, "l2"), 0.0))


def _retrained(objective: Objective, pairs: str) -> Recipe:
    words = "from s3-cnn's weights on; PGD images alone, L2, epsilon 1.5, 3 steps, in bfloat16"
    attacked = _attacked("s3-cnn", objective, words + pairs)
    return replace(attacked, epochs=2, around=from_weights("s3-cnn"))


RECIPES: dict[str, Recipe] = DISTILLATION | {
    "maxout-fgsm": _attacked(
        "maxout", mixture(fgsm_images(0.25)), "50% of the loss on FGSM images, epsilon 0.25"
    ),
    "s3-cnn-fgsm": _attacked(
        "s3-cnn", mixture(fgsm_images(EPSILON), 0.0), "100% of the loss on FGSM images, epsilon 0.3"
    ),
    "s3-cnn-rand-fgsm": _attacked(
        "s3-cnn", mixture(rand_fgsm_images(EPSILON, 0.05), 0.0),
        "100% of the loss on RAND+FGSM images, epsilon 0.3, alpha 0.05",
    ),
    "tramer-a-fgsm": _tramer(mixture(fgsm_images(EPSILON, leak=False)), "its own FGSM images", 4),
    "tramer-a-ensemble": _tramer(
        mixture(ensemble_images(EPSILON, ("tramer-a", "tramer-c", "tramer-d"))),
        "FGSM images of itself, A, C and D in turn by lot", 5,
    ),
    "madry-pgd": Recipe(
        32, 128, Adam, one_cycle(1e-3),
        "Adam, peak 1e-3; PGD images alone, 5 steps and from 60% of training on 10, epsilon 0.3, "
        "growing to it over the first third; bfloat16",
        objective=lambda progress: in_reduced_precision(
            warmed_up(partial(pgd_images, steps=5 if progress < 0.6 else 10), EPSILON, 1 / 3)(
                progress
            )
        ),
    ),
    "manifold-robust": _retrained(
        with_pairs(_NEAR, epsilon=1.5),
        "; each eighth batch by lot .5 of the divergence of 32 overpowered pairs, epsilon 1.5, "
        "50 steps",
    ),
    "manifold-pgd": _retrained(_NEAR, ""),
    "defense-gan-a-rec": replace(
        CLEAN["defense-gan-a"], epochs=16, sample=partial(reconstructed, 6_000),
        settings=f"{CLEAN['defense-gan-a'].settings}; the generator's reconstructions of the first "
        "6,000 training images in place of these, four restarts of 60 steps",
    ),
    "carlini-wagner-trades": _attacked(
        "carlini-wagner", in_reduced_precision(trades(EPSILON, steps=10)),
        "TRADES, beta 1, PGD of 10 steps, epsilon 0.3; bfloat16",
    ),
}  # fmt: skip
