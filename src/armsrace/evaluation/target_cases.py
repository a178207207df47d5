"""Targeted attacks on all targets: the best, the average and the worst case of each image.

Carlini and Wagner 2017, §III-B and Table IV.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.contracts import (
    UNIT,
    Bounds,
    check_classes,
    check_count,
    check_images,
    check_labels,
)


@dataclass(frozen=True)
class Case:
    """The mean distance of the successes (infinite if there is none), and the success rate."""

    distance: float
    success: float


@dataclass(frozen=True)
class TargetCases:
    """The results of a targeted attack for the best, an average and the worst target."""

    best: Case
    average: Case
    worst: Case


def all_targets(
    images: Tensor, labels: Tensor, classes: int, bounds: Bounds = UNIT
) -> tuple[Tensor, Tensor, Tensor]:
    """Repeat each image for every wrong class, as one batch for a targeted attack.

    Args:
        images: (N, C, H, W).
        labels: (N,) int64, the true classes.
        classes: K, the number of classes.
        bounds: the box of valid pixels.

    Returns:
        Images (N(K−1), C, H, W), labels (N(K−1),) and targets (N(K−1),). The first K − 1 rows are
        the first image's, with ascending targets.

    Example:
        >>> images, labels = torch.zeros(2, 1, 28, 28), torch.tensor([3, 7])
        >>> evaluation.all_targets(images, labels, classes=10)[2][:9]
        tensor([0, 1, 2, 4, 5, 6, 7, 8, 9])
    """
    check_images(images, bounds)
    check_labels(labels, len(images))
    check_count("classes", classes, 2)
    check_classes(labels, classes)
    others = torch.arange(classes - 1, device=labels.device).expand(len(labels), -1)
    targets = others + (others >= labels[:, None])
    repeats = classes - 1
    return (
        images.repeat_interleave(repeats, dim=0),
        labels.repeat_interleave(repeats),
        targets.flatten(),
    )


def best_average_worst(sizes: Tensor, classes: int) -> TargetCases:
    """The best, average and worst case of a targeted attack.

    The best case is an image's nearest target; it fails if all targets fail. The worst case is its
    farthest target; it fails if any target fails. Distances are averaged only over successes, as in
    the paper. An attack that often fails can therefore have a small distance: read both numbers.

    Args:
        sizes: (N(K−1),) distances in the order of `all_targets`, infinite for failures, as of
            `perturbation_sizes`.
        classes: K, the number of classes.

    Differences from the paper:
        * The paper's average case draws one target at random for each image. Ours is the mean over
          all targets, which has the same expectation and less noise.

    References:
        Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", §III-B and
        Table IV.

    Example:
        >>> sizes = torch.tensor([1.0, 2.0, 3.0, torch.inf])
        >>> evaluation.best_average_worst(sizes, classes=3).best
        Case(distance=2.0, success=1.0)
    """
    check_count("classes", classes, 2)
    if sizes.ndim != 1 or len(sizes) == 0 or len(sizes) % (classes - 1):
        raise ValueError(
            f"sizes must have shape (N * {classes - 1},), N >= 1, got {tuple(sizes.shape)}"
        )
    rows = sizes.view(-1, classes - 1)
    return TargetCases(_case(rows.amin(dim=1)), _case(sizes), _case(rows.amax(dim=1)))


def _case(sizes: Tensor) -> Case:
    """The case of one distance per image, or of all of them."""
    success = sizes.isfinite()
    distance = sizes[success].mean().item() if success.any() else float("inf")
    return Case(distance, success.float().mean().item())
