"""Defenses: ways of training or wrapping a network so that attacks should fail."""

from armsrace.defenses.adversarial_images import (
    ensemble_images,
    fgsm_images,
    pgd_images,
    rand_fgsm_images,
)
from armsrace.defenses.adversarial_training import mixture, trades, warmed_up
from armsrace.defenses.analysis_by_synthesis import AnalysisBySynthesis, Explanation
from armsrace.defenses.binary_synthesis import Binarized, ClassWeighted, fitted_factors
from armsrace.defenses.class_search import AdamSearch
from armsrace.defenses.deep_image_prior import DeepImagePrior
from armsrace.defenses.detection import (
    Detected,
    Divergence,
    Surprise,
    detection_rate,
    divergence,
    threshold_at,
)
from armsrace.defenses.distillation import Tempered, at_temperature, distilled_from, softened
from armsrace.defenses.inversion import LatentProjection, inversion_path, invert
from armsrace.defenses.latent_descent import Inversion
from armsrace.defenses.latent_search import LatentSearch
from armsrace.defenses.levenberg_marquardt import LevenbergMarquardt, PolishedSearch
from armsrace.defenses.magnet import JensenShannon, MagNet, ReconstructionError, jensen_shannon
from armsrace.defenses.manifold import divergence_apart, with_pairs
from armsrace.defenses.nearest_neighbor import NearestNeighbor
from armsrace.defenses.purified import Purified
from armsrace.defenses.recipes import RECIPES

__all__ = [
    "RECIPES",
    "AdamSearch",
    "AnalysisBySynthesis",
    "Binarized",
    "ClassWeighted",
    "DeepImagePrior",
    "Detected",
    "Divergence",
    "Explanation",
    "Inversion",
    "JensenShannon",
    "LatentProjection",
    "LatentSearch",
    "LevenbergMarquardt",
    "MagNet",
    "NearestNeighbor",
    "PolishedSearch",
    "Purified",
    "ReconstructionError",
    "Surprise",
    "Tempered",
    "at_temperature",
    "detection_rate",
    "distilled_from",
    "divergence",
    "divergence_apart",
    "ensemble_images",
    "fgsm_images",
    "fitted_factors",
    "inversion_path",
    "invert",
    "jensen_shannon",
    "mixture",
    "pgd_images",
    "rand_fgsm_images",
    "softened",
    "threshold_at",
    "trades",
    "warmed_up",
    "with_pairs",
]
