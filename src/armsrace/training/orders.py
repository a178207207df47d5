"""In which order an epoch takes its images; a batch is a stretch of it."""

from __future__ import annotations

import torch
from torch import Tensor


def shuffled(labels: Tensor) -> Tensor:
    """All images once, in an order (N,) drawn from torch's global generator."""
    return torch.randperm(len(labels)).to(labels.device)


def balanced(labels: Tensor) -> Tensor:
    """The classes in turn, 0, 1, …, 0, 1, …: each one's images shuffled, as many as the rarest has.

    An order (M,) of images labelled (N,), drawn from torch's global generator. The images that a
    more frequent class has over wait for another epoch.
    """
    order = shuffled(labels)
    groups = [order[labels[order] == label] for label in range(int(labels.max()) + 1)]
    rarest = min(len(group) for group in groups)
    return torch.stack([group[:rarest] for group in groups], dim=1).flatten()
