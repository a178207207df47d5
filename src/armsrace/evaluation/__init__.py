"""Judging attacks and defenses: curves, medians, and whether the judgement can be trusted."""

from armsrace.evaluation.batches import attack_in_batches, seeded
from armsrace.evaluation.masking import MaskingReport, masking_report
from armsrace.evaluation.robustness import (
    RobustnessCurve,
    accuracy,
    accuracy_at,
    median_distance,
    perturbation_sizes,
    robustness_curve,
)

__all__ = [
    "MaskingReport", "RobustnessCurve", "accuracy", "accuracy_at",
    "attack_in_batches", "masking_report", "median_distance", "perturbation_sizes",
    "robustness_curve", "seeded",
]  # fmt: skip
