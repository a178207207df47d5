"""Attacks: functions from a model, images and labels to an `AttackResult`."""

from armsrace.attacks.bim import bim, least_likely
from armsrace.attacks.deepfool import deepfool
from armsrace.attacks.fgsm import fgsm
from armsrace.attacks.jsma import jsma
from armsrace.attacks.momentum import momentum
from armsrace.attacks.pgd import pgd
from armsrace.attacks.rand_fgsm import rand_fgsm

__all__ = ["bim", "deepfool", "fgsm", "jsma", "least_likely", "momentum", "pgd", "rand_fgsm"]
