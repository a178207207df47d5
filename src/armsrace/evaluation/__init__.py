"""Evaluating attacks and defenses: curves, medians, and whether an evaluation can be trusted."""

from armsrace.defenses.analysis_by_synthesis.bounds import (
    SynthesisBounds,
    halfspace_bounds,
    linf_bounds,
    synthesis_bounds,
)
from armsrace.defenses.analysis_by_synthesis.certificate import Certificates, certify
from armsrace.evaluation.autoattack import WorstCase, autoattack, worst_case
from armsrace.evaluation.batches import attack_in_batches, seeded
from armsrace.evaluation.failure_indicators import FailureIndicators, failure_indicators
from armsrace.evaluation.intervals import mean_interval, median_interval, wilson, with_interval
from armsrace.evaluation.masking import MaskingReport, masking_report
from armsrace.evaluation.minimal_epsilon import smallest_epsilon
from armsrace.evaluation.robustness import (
    RobustnessCurve,
    accuracy,
    accuracy_at,
    median_distance,
    optimality,
    perturbation_sizes,
    robustness_curve,
)
from armsrace.evaluation.target_cases import Case, TargetCases, all_targets, best_average_worst

__all__ = [
    "Case", "Certificates", "FailureIndicators", "MaskingReport", "RobustnessCurve",
    "SynthesisBounds", "TargetCases", "WorstCase", "accuracy", "accuracy_at", "all_targets",
    "attack_in_batches", "autoattack", "best_average_worst", "certify", "failure_indicators",
    "halfspace_bounds", "linf_bounds", "masking_report", "mean_interval", "median_distance",
    "median_interval", "optimality", "perturbation_sizes", "robustness_curve", "seeded",
    "smallest_epsilon", "synthesis_bounds", "wilson", "with_interval", "worst_case",
]  # fmt: skip
