"""Targeted attacks over all targets: the easiest, an average and the hardest one of each image.

Carlini and Wagner 2017, §III-B and Table IV.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.contracts import check_classes, check_count, check_images, check_labels


@dataclass(frozen=True)
class Case:
    """The mean distance of what succeeded (infinite where nothing did) and the share that did."""

    distance: float
    success: float


@dataclass(frozen=True)
class TargetCases:
    """What a targeted attack does at its best, on average and at its worst target."""

    best: Case
    average: Case
    worst: Case


def all_targets(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each image once for every class that is not its own, as one batch to attack.

    From images (N, C, H, W), labels (N,) and the number K of classes to images (N(K−1), C, H, W),
    labels and targets (N(K−1),): the first K − 1 rows are the first image's, its targets ascending.
    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> images, labels = torch.zeros(2, 1, 28, 28), torch.tensor([3, 7])
    >>> evaluation.all_targets(images, labels, classes=10)[2][:9]
    tensor([0, 1, 2, 4, 5, 6, 7, 8, 9])
    """
    check_images(images)
    check_labels(labels, len(images))
    check_count("classes", classes, 2)
    check_classes(labels, classes)
    others = torch.arange(classes - 1, device=labels.device).expand(len(labels), -1)
    targets = others + (others >= labels[:, None])
    each = classes - 1
    return (
        images.repeat_interleave(each, dim=0),
        labels.repeat_interleave(each),
        targets.flatten(),
    )


def best_average_worst(sizes: Tensor, classes: int) -> TargetCases:
    """The three cases of the paper, from distances (N(K−1),) in the order of `all_targets`.

    A distance is infinite where the attack failed, as `perturbation_sizes` has it. The best case is
    an image's nearest target and fails where all do; the worst is its farthest and fails where one
    does. The paper's average case draws one target at random for each image; the mean over all of
    them, here, has the same expectation and less noise. Distances are averaged over successes
    alone, as in the paper, so that a failing attack can look near: read both numbers. Raises
    ValueError where the distances are not K − 1 an image.

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
    reached = sizes.isfinite()
    distance = sizes[reached].mean().item() if reached.any() else float("inf")
    return Case(distance, reached.float().mean().item())
