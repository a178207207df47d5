"""Recipes for CelebA's gender task, for who has CelebA on disk; no weights of these are shipped.

    faces = datasets.celeba(root, count=50_000)
    data = Dataset(faces.images, faces.labels, "celeba", "train", "unverified", root)
    vae, _ = fit(face_vae, data, FACES, device="cuda")
    gender, _ = fit(gender_cnn, data, GENDER, device="cuda")
    robust, _ = fit(gender_cnn, data, gender_robust(vae), device="cuda")

None was run on CelebA here: the settings are those that serve our other networks of this kind.
"""

from __future__ import annotations

from dataclasses import replace

from torch.optim import Adam

from armsrace.defenses.adversarial_images import pgd_images
from armsrace.defenses.adversarial_training import mixture
from armsrace.defenses.manifold import with_pairs
from armsrace.models.vae import VariationalAutoencoder
from armsrace.training.recipe import Recipe, always, one_cycle
from armsrace.training.variational import evidence_bound

FACES = Recipe(
    40, 128, Adam, one_cycle(1e-3), "Adam, peak 1e-3; binary cross-entropy of the pixels + KL",
    objective=always(evidence_bound), quality="error",
)  # fmt: skip
GENDER = Recipe(10, 128, Adam, one_cycle(1e-3), "Adam, peak 1e-3")


def gender_robust(
    vae: VariationalAutoencoder, *, epsilon: float = 1.5, pairs: int = 32, steps: int = 50
) -> Recipe:
    """The gender recipe on PGD images (L2) and overpowered pairs of the VAE's range.

    epsilon: of both, L2 in pixel units. pairs, steps: as for `with_pairs`, which raises on others.
    """
    base = mixture(pgd_images(epsilon, 5, "l2"), 0.0)
    return replace(
        GENDER,
        objective=always(with_pairs(base, epsilon=epsilon, decoder=vae, pairs=pairs, steps=steps)),
        settings=f"{GENDER.settings}; PGD images, L2, and pairs, epsilon {epsilon:g}",
    )
