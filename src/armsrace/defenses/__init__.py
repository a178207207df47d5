"""Defenses: ways of training or wrapping a network so that attacks should fail."""

from armsrace.defenses.adversarial_training import RECIPES, fgsm_mixture

__all__ = ["RECIPES", "fgsm_mixture"]
