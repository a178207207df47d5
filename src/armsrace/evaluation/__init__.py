"""Judging attacks and defenses: curves, medians, and whether the judgement can be trusted."""

from armsrace.evaluation.batches import attack_in_batches, seeded
from armsrace.evaluation.budgets import smallest_epsilon
from armsrace.evaluation.ensemble import WorstCase, autoattack, worst_case
from armsrace.evaluation.intervals import wilson, with_interval
from armsrace.evaluation.masking import MaskingReport, masking_report
from armsrace.evaluation.robustness import (
    RobustnessCurve,
    accuracy,
    accuracy_at,
    median_distance,
    perturbation_sizes,
    robustness_curve,
)
from armsrace.evaluation.synthesis_bounds import SynthesisBounds, synthesis_bounds
from armsrace.evaluation.synthesis_bounds_linf import linf_bounds
from armsrace.evaluation.synthesis_halfspaces import halfspace_bounds
from armsrace.evaluation.targets import Case, TargetCases, all_targets, best_average_worst

__all__ = [
    "Case", "MaskingReport", "RobustnessCurve", "SynthesisBounds", "TargetCases", "WorstCase",
    "accuracy", "accuracy_at", "all_targets", "attack_in_batches", "autoattack",
    "best_average_worst", "halfspace_bounds", "linf_bounds", "masking_report", "median_distance",
    "perturbation_sizes", "robustness_curve", "seeded", "smallest_epsilon", "synthesis_bounds",
    "wilson", "with_interval", "worst_case",
]  # fmt: skip
