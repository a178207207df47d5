"""Defenses: ways of training or wrapping a network so that attacks should fail."""

from armsrace.defenses.distillation import Tempered, at_temperature, distilled_from, softened
from armsrace.defenses.recipes import RECIPES

__all__ = ["RECIPES", "Tempered", "at_temperature", "distilled_from", "softened"]
