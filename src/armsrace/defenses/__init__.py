"""Defenses: ways of training or wrapping a network so that attacks should fail."""

from armsrace.defenses.detection import (
    Detected,
    Divergence,
    Surprise,
    detection_rate,
    divergence,
    threshold_at,
)
from armsrace.defenses.distillation import Tempered, at_temperature, distilled_from, softened
from armsrace.defenses.recipes import RECIPES

__all__ = [
    "RECIPES",
    "Detected",
    "Divergence",
    "Surprise",
    "Tempered",
    "at_temperature",
    "detection_rate",
    "distilled_from",
    "divergence",
    "softened",
    "threshold_at",
]
