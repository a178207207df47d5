"""What is public, by name: to take a name away or to rename it is a decision, not an accident."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from armsrace.resources import CLONE

PUBLIC = {
    "attacks": """
        adversarial_patch alma auto_pgd bim boundary brendel_bethge carlini_wagner_l0
        carlini_wagner_l2 carlini_wagner_linf ddn deepfool ead fab fgsm finite_difference fmn
        gaussian_noise greedy_explanation hop_skip_jump jsma latent_descent least_likely mi_fgsm
        minimum_norm on_manifold one_pixel pgd pointwise rand_fgsm rays salt_and_pepper sigma_zero
        square substitute superdeepfool transfer uniform_noise universal
    """,
    "attacks.adaptive": """
        EstimatedGradient bpda eot estimated_gradient unrolled
    """,
    "defenses": """
        AdamSearch AnalysisBySynthesis Binarized BitDepth ClassWeighted CrossNetworkNLL
        DeepImagePrior Detected Divergence Explanation FeatureSqueezing Inversion JensenShannon
        KernelDensity LatentProjection LatentSearch LevenbergMarquardt MagNet MedianFilter
        NearestNeighbor PolishedSearch PrincipalComponents Purified RandomizedSmoothing
        ReconstructionError SmoothedCertificate TemperatureScaled TrainedDetector
        adversarial_loss at_temperature certified detection_rate distilled_from divergence
        divergence_apart ensemble_images epsilon_warmup fgsm_images fitted_factors
        gaussian_noise_loss interval_bounds interval_loss interval_margins interval_schedule
        inversion_path invert jensen_shannon lower_confidence_bound pgd_images rand_fgsm_images
        robust_manifold_loss soft_labels threshold_at trades
    """,
    "evaluation": """
        Case Certificates FailureIndicators MaskingReport RobustnessCurve SynthesisBounds
        TargetCases WorstCase accuracy accuracy_at all_targets attack_in_batches autoattack
        best_average_worst certify failure_indicators halfspace_bounds linf_bounds
        masking_report mean_interval median_distance median_interval optimality perturbation_sizes
        robustness_curve seeded smallest_epsilon synthesis_bounds wilson with_interval
        worst_case
    """,
    "evaluation.arena": """
        ATTACKS BUDGETS DEFENSES Defended Defense Entry Job NORMS OutcomesError arena_jobs
        collected compared export judge measure publish publish_images read run run_folder submitted
    """,
    "datasets": """
        CIFAR10_CLASSES Dataset DatasetCorrupt DatasetNotFound FileStatus HELD_OUT
        IMAGENET_CLASSES Pictures available celeba cifar10 describe download held_out
        image_folder load mnist picture status training
    """,
    "ledger": """
        Claim Measurement Recording Verdict check load_claims load_measured measure page record
        recorded recorded_change table verdict verdicts
    """,
    "losses": """
        Loss check_loss cross_entropy dlr log_odds margin targeted_dlr
    """,
    "norms": """
        BUDGETED batch_view blocked_by_box distances linear_maximizer_l1 normalize per_row project
        project_l1_box steepest_direction
    """,
}
ZOO = ("build", "card", "entry", "load", "names", "weights")


@pytest.mark.parametrize("module", PUBLIC)
def test_a_module_exports_these_names(module: str) -> None:
    found = import_module(f"armsrace.{module}")
    assert set(found.__all__) == set(PUBLIC[module].split())
    assert all(hasattr(found, name) for name in found.__all__)


def test_the_zoo_has_these_functions() -> None:
    zoo = import_module("armsrace.models.zoo")
    assert all(inspect.isfunction(getattr(zoo, name)) for name in ZOO)


@pytest.mark.parametrize("module", ["attacks", "attacks.adaptive", "defenses", "evaluation"])
def test_the_reference_page_has_the_module(module: str) -> None:
    reference = (CLONE / "book" / "api.md").read_text(encoding="utf-8")
    assert f".. automodule:: armsrace.{module}\n" in reference
