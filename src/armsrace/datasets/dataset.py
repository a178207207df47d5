"""A data set as tensors, with its origin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor

from armsrace.contracts import check_labels
from armsrace.datasets.sources import IMAGENET, TITLES

Source = Literal["official", "embedded", "JPEG copies", "unverified"]
EMBEDDED = {"mnist": "training digits", "cifar10": "test images"}


@dataclass(frozen=True)
class Dataset:
    """Images, labels, and where they come from.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64.
        name: "mnist", "cifar10" or "imagenet-samples".
        split: "train", "test" or "held-out" (the first 6,000 training images).
        source: "official", "embedded", "JPEG copies" or "unverified".
        path: the folder or file that was read.
    """

    images: Tensor
    labels: Tensor
    name: str
    split: str
    source: Source
    path: Path

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def description(self) -> str:
        """The data set, its number of images and its origin, as printed with measurements."""
        if self.name == IMAGENET:
            return f"ImageNet, {len(self):,} sample photographs"
        kind = {"train": "training", "test": "test", "held-out": "held-out training"}[self.split]
        what = {
            "official": f"official {kind} images",
            "embedded": f"embedded {EMBEDDED[self.name]} (no full {TITLES[self.name]} found)",
            "JPEG copies": f"{kind} images (JPEG copies)",
            "unverified": f"{kind} images (unverified: no known checksum)",
        }[self.source]
        return f"{TITLES[self.name]}, {len(self):,} {what}"

    def take(self, n: int, generator: Generator | None = None) -> Dataset:
        """The first n images, or with a generator n images drawn without replacement."""
        if not 1 <= n <= len(self):
            raise ValueError(f"n must be between 1 and {len(self)}, got {n}")
        if generator is None:
            return replace(self, images=self.images[:n], labels=self.labels[:n])
        chosen = torch.randperm(len(self), generator=generator)[:n]
        return replace(self, images=self.images[chosen], labels=self.labels[chosen])

    def where(self, kept: Tensor, labels: Tensor | None = None) -> Dataset:
        """The images that a mask keeps.

        Args:
            kept: (N,) bool, the mask; it keeps at least one image.
            labels: (M,) int64, new labels of the kept images; by default their own.
        """
        if kept.shape != self.labels.shape or kept.dtype != torch.bool:
            raise ValueError(
                f"kept must be bool of shape ({len(self)},), got {kept.dtype} {tuple(kept.shape)}"
            )
        if not kept.any():
            raise ValueError("kept must keep at least one image")
        chosen = self.labels[kept] if labels is None else labels
        check_labels(chosen, int(kept.sum()))
        return replace(self, images=self.images[kept], labels=chosen)
