"""Defenses: ways of training or wrapping a network so that attacks should fail."""

from armsrace.defenses.recipes import RECIPES

__all__ = ["RECIPES"]
