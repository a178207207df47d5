"""How good a network is, as its card says: accuracy, error, or Fréchet distance."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from armsrace.datasets import Dataset
from armsrace.models import zoo
from armsrace.models.gan import Generator
from armsrace.models.layers import predict

SAMPLES = 2000
JUDGE = "carlini-wagner"


def accuracy(model: nn.Module, data: Dataset) -> float:
    """The fraction of images that the network classifies correctly."""
    return (predict(model, data.images).argmax(dim=1) == data.labels).float().mean().item()


def error(model: nn.Module, data: Dataset) -> float:
    """The mean squared error per pixel of a network that returns its input."""
    return (predict(model, data.images) - data.images).square().mean().item()


def digits_distance(model: nn.Module, data: Dataset) -> float:
    """The Fréchet distance of 2,000 samples of a generator to 2,000 images spread over the data.

    The features are those of the last hidden layer of the Carlini–Wagner network, so that the
    distance compares with no other network's. Fewer images are taken where the data holds fewer.
    """
    if not isinstance(model, Generator):
        raise TypeError(f"model must be a Generator, got {type(model).__name__}")
    judge = cast(nn.Sequential, zoo.load(JUDGE))[:-1]
    spread = torch.linspace(0, len(data) - 1, min(SAMPLES, len(data))).long()
    fakes, real = model.sample(SAMPLES), data.images[spread]
    return frechet_distance(predict(judge, fakes), predict(judge, real))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """The Fréchet distance of the normal distributions fitted to two sets of features.

    ‖m − m'‖² + tr(C + C' − 2 (C C')^½) of their means and covariances, in squared units of the
    features.

    Args:
        first: (N, F), both at least 2.
        second: (M, F), M at least 2.

    References:
        Heusel et al. 2017, eq. 6.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            "first and second must be (N, F) and (M, F), "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if min(*first.shape, *second.shape) < 2:
        raise ValueError(
            "first and second must hold two or more of two features or more, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    (mean, covariance), (other_mean, other_covariance) = (
        (features.double().mean(dim=0), features.double().T.cov()) for features in (first, second)
    )
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # C C' has the eigenvalues of the symmetric C^½ C' C^½, which need no complex root.
    crossed = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp_min(0).sqrt().sum()
    distance = (mean - other_mean).square().sum()
    return (distance + (covariance + other_covariance).trace() - 2 * crossed).item()


QUALITIES = {"accuracy": accuracy, "error": error, "frechet": digits_distance}
"""By the name that a recipe gives it."""
