"""Defenses: ways of training or wrapping a network so that attacks should fail."""

from armsrace.defenses.adversarial_training import (
    adversarial_loss,
    ensemble_images,
    epsilon_warmup,
    fgsm_images,
    pgd_images,
    rand_fgsm_images,
    trades,
)
from armsrace.defenses.analysis_by_synthesis.binary import Binarized, ClassWeighted, fitted_factors
from armsrace.defenses.analysis_by_synthesis.inference import AdamSearch
from armsrace.defenses.analysis_by_synthesis.levenberg_marquardt import (
    LevenbergMarquardt,
    PolishedSearch,
)
from armsrace.defenses.analysis_by_synthesis.model import AnalysisBySynthesis, Explanation
from armsrace.defenses.deep_image_prior import DeepImagePrior
from armsrace.defenses.detection import (
    BitDepth,
    CrossNetworkNLL,
    Detected,
    Divergence,
    FeatureSqueezing,
    KernelDensity,
    MedianFilter,
    PrincipalComponents,
    TrainedDetector,
    detection_rate,
    divergence,
    threshold_at,
)
from armsrace.defenses.distillation import (
    TemperatureScaled,
    at_temperature,
    distilled_from,
    soft_labels,
)
from armsrace.defenses.interval_bounds import (
    certified,
    interval_bounds,
    interval_loss,
    interval_margins,
    interval_schedule,
)
from armsrace.defenses.latent_projection import (
    Inversion,
    LatentProjection,
    LatentSearch,
    inversion_path,
    invert,
)
from armsrace.defenses.magnet import JensenShannon, MagNet, ReconstructionError, jensen_shannon
from armsrace.defenses.nearest_neighbor import NearestNeighbor
from armsrace.defenses.purifier import Purified
from armsrace.defenses.randomized_smoothing import (
    RandomizedSmoothing,
    SmoothedCertificate,
    gaussian_noise_loss,
    lower_confidence_bound,
)
from armsrace.defenses.robust_manifold import divergence_apart, robust_manifold_loss
from armsrace.deprecation import renamed

__all__ = [
    "AdamSearch",
    "AnalysisBySynthesis",
    "Binarized",
    "BitDepth",
    "ClassWeighted",
    "CrossNetworkNLL",
    "DeepImagePrior",
    "Detected",
    "Divergence",
    "Explanation",
    "FeatureSqueezing",
    "Inversion",
    "JensenShannon",
    "KernelDensity",
    "LatentProjection",
    "LatentSearch",
    "LevenbergMarquardt",
    "MagNet",
    "MedianFilter",
    "NearestNeighbor",
    "PolishedSearch",
    "PrincipalComponents",
    "Purified",
    "RandomizedSmoothing",
    "ReconstructionError",
    "SmoothedCertificate",
    "TemperatureScaled",
    "TrainedDetector",
    "adversarial_loss",
    "at_temperature",
    "certified",
    "detection_rate",
    "distilled_from",
    "divergence",
    "divergence_apart",
    "ensemble_images",
    "epsilon_warmup",
    "fgsm_images",
    "fitted_factors",
    "gaussian_noise_loss",
    "interval_bounds",
    "interval_loss",
    "interval_margins",
    "interval_schedule",
    "inversion_path",
    "invert",
    "jensen_shannon",
    "lower_confidence_bound",
    "pgd_images",
    "rand_fgsm_images",
    "robust_manifold_loss",
    "soft_labels",
    "threshold_at",
    "trades",
]

__getattr__ = renamed(
    __name__,
    {
        "RECIPES": "armsrace.recipes.RECIPES",
        "Surprise": "armsrace.defenses.CrossNetworkNLL",
        "Tempered": "armsrace.defenses.TemperatureScaled",
        "mixture": "armsrace.defenses.adversarial_loss",
        "softened": "armsrace.defenses.soft_labels",
        "warmed_up": "armsrace.defenses.epsilon_warmup",
        "with_pairs": "armsrace.defenses.robust_manifold_loss",
    },
)
