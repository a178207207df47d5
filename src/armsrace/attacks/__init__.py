"""Attacks: functions from a model, images and labels to an `AttackResult`."""

from armsrace.attacks.auto_pgd import auto_pgd
from armsrace.attacks.bim import bim, least_likely
from armsrace.attacks.boundary import boundary
from armsrace.attacks.carlini_wagner import carlini_wagner_l2
from armsrace.attacks.carlini_wagner_l0 import carlini_wagner_l0
from armsrace.attacks.carlini_wagner_linf import carlini_wagner_linf
from armsrace.attacks.ddn import ddn
from armsrace.attacks.deepfool import deepfool
from armsrace.attacks.distal import distal as distal
from armsrace.attacks.fgsm import fgsm
from armsrace.attacks.finite_difference import finite_difference
from armsrace.attacks.jsma import jsma
from armsrace.attacks.momentum import momentum
from armsrace.attacks.noise import gaussian_noise, salt_and_pepper, uniform_noise
from armsrace.attacks.on_manifold import on_manifold
from armsrace.attacks.one_pixel import one_pixel

# These attack no given image, so they have no attack's signature and no place in __all__.
from armsrace.attacks.overpowered import overpowered as overpowered
from armsrace.attacks.pgd import pgd
from armsrace.attacks.pointwise import pointwise
from armsrace.attacks.rand_fgsm import rand_fgsm
from armsrace.attacks.square import square
from armsrace.attacks.substitute import substitute
from armsrace.attacks.toward_synthesis import latent_descent
from armsrace.attacks.transfer import transfer
from armsrace.attacks.universal import universal

__all__ = [
    "auto_pgd", "bim", "boundary", "carlini_wagner_l0", "carlini_wagner_l2",
    "carlini_wagner_linf", "ddn", "deepfool", "fgsm", "finite_difference", "gaussian_noise",
    "jsma", "latent_descent", "least_likely", "momentum", "on_manifold", "one_pixel", "pgd",
    "pointwise", "rand_fgsm", "salt_and_pepper", "square", "substitute", "transfer",
    "uniform_noise", "universal",
]  # fmt: skip
