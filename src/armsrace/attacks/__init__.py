"""Attacks: functions from a model, images and labels to an `AttackResult`.

A folder for each kind: gradient attacks, sparse, minimal, Carlini–Wagner, black-box, generative and
audio. `adaptive` prepares a defended model for them; `physical` simulates a camera.
"""

# What is imported as itself (`x as x`) attacks no given image: it has no attack's signature and no
# place in __all__, which the tests of all attacks go through.
from armsrace.attacks.adaptive import bpda as bpda
from armsrace.attacks.adaptive import eot as eot
from armsrace.attacks.adaptive import estimated_gradient as estimated_gradient
from armsrace.attacks.adaptive import unrolled as unrolled
from armsrace.attacks.black_box.boundary import boundary
from armsrace.attacks.black_box.gradient_estimation import finite_difference
from armsrace.attacks.black_box.hop_skip_jump import hop_skip_jump
from armsrace.attacks.black_box.noise import gaussian_noise, salt_and_pepper, uniform_noise
from armsrace.attacks.black_box.rays import rays
from armsrace.attacks.black_box.square import square
from armsrace.attacks.black_box.substitute import substitute
from armsrace.attacks.black_box.transfer import transfer
from armsrace.attacks.carlini_wagner.l0 import carlini_wagner_l0
from armsrace.attacks.carlini_wagner.l2 import carlini_wagner_l2
from armsrace.attacks.carlini_wagner.linf import carlini_wagner_linf
from armsrace.attacks.generative.distal import distal as distal
from armsrace.attacks.generative.greedy_explanation import greedy_explanation
from armsrace.attacks.generative.latent_descent import latent_descent
from armsrace.attacks.generative.on_manifold import on_manifold
from armsrace.attacks.generative.overpowered import overpowered as overpowered
from armsrace.attacks.gradient.auto_pgd import auto_pgd
from armsrace.attacks.gradient.bim import bim, least_likely
from armsrace.attacks.gradient.fgsm import fgsm, rand_fgsm
from armsrace.attacks.gradient.mi_fgsm import mi_fgsm
from armsrace.attacks.gradient.pgd import pgd
from armsrace.attacks.minimal.alma import alma
from armsrace.attacks.minimal.brendel_bethge import brendel_bethge
from armsrace.attacks.minimal.ddn import ddn
from armsrace.attacks.minimal.deepfool import deepfool
from armsrace.attacks.minimal.ead import ead
from armsrace.attacks.minimal.fab import fab
from armsrace.attacks.minimal.fmn import fmn
from armsrace.attacks.minimal.minimum_norm import minimum_norm
from armsrace.attacks.minimal.superdeepfool import superdeepfool
from armsrace.attacks.minimal.universal import universal
from armsrace.attacks.sparse.adversarial_patch import adversarial_patch
from armsrace.attacks.sparse.jsma import jsma
from armsrace.attacks.sparse.one_pixel import one_pixel
from armsrace.attacks.sparse.pointwise import pointwise
from armsrace.attacks.sparse.sigma_zero import sigma_zero
from armsrace.deprecation import renamed

__all__ = [
    "adversarial_patch", "alma", "auto_pgd", "bim", "boundary", "brendel_bethge",
    "carlini_wagner_l0", "carlini_wagner_l2", "carlini_wagner_linf", "ddn", "deepfool", "ead",
    "fab", "fgsm", "finite_difference", "fmn", "gaussian_noise", "greedy_explanation",
    "hop_skip_jump", "jsma", "latent_descent", "least_likely", "mi_fgsm", "minimum_norm",
    "on_manifold", "one_pixel", "pgd", "pointwise", "rand_fgsm", "rays", "salt_and_pepper",
    "sigma_zero", "square", "substitute", "superdeepfool", "transfer", "uniform_noise",
    "universal",
]  # fmt: skip

__getattr__ = renamed(
    __name__,
    {
        "composition": "armsrace.attacks.adaptive",
        "margins": "armsrace.losses",
        "momentum": "armsrace.attacks.mi_fgsm",
        "norms": "armsrace.norms",
    },
)
