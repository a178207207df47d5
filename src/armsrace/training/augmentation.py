"""What a training image may look like on another day: mirrored, a little shifted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.training.recipe import cross_entropy, in_reduced_precision


def mirrored_and_shifted(images: Tensor, reach: int = 4) -> Tensor:
    """Each image (N, C, H, W) mirrored with chance one half, and moved by up to `reach` pixels.

    What moves in at an edge is black. Draws from torch's global generator, as an objective may
    (`training.recipe`). Source: the usual CIFAR-10 augmentation, e.g. He et al. 2016, §4.2.
    """
    count, _, height, width = images.shape
    mirror = (torch.rand(count, 1, 1, 1) < 0.5).to(images.device)
    images = torch.where(mirror, images.flip(3), images)
    padded = functional.pad(images, (reach, reach, reach, reach))
    top, left = (torch.randint(2 * reach + 1, (2, count, 1))).to(images.device)
    rows = (top + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (left + torch.arange(width, device=images.device))[:, None, None, :]
    own = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    channels = torch.arange(images.shape[1], device=images.device).view(1, -1, 1, 1)
    return padded[own, channels, rows, columns]


def augmented(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch mirrored and shifted, in reduced precision."""
    return in_reduced_precision(cross_entropy)(model, mirrored_and_shifted(images), labels)
