"""The nearest training image of each class: a classifier that explains from memory alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armsrace.contracts import check_images, check_labels


class NearestNeighbor(nn.Module):
    """Logits −‖x − x_c‖², x_c the nearest of the stored images of class c.

    The gradient is that of the distance to the nearest image. The images are not stored with the
    module's state.

    Args:
        images: (M, C, H, W) in [0, 1].
        labels: (M,), from 0 to K − 1, each at least once.
        batch_size: images compared at once.

    References:
        Schott, Rauber, Bethge and Brendel 2019, as a baseline.

    Example:
        >>> digits = datasets.load("mnist").take(200)
        >>> model = defenses.NearestNeighbor(digits.images, digits.labels)
        >>> evaluation.accuracy(model, digits.images, digits.labels)
        1.0
    """

    stored: Tensor
    squares: Tensor

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int = 100) -> None:
        super().__init__()
        check_images(images)
        check_labels(labels, len(images))
        counts = labels.bincount()
        if (counts == 0).any():
            raise ValueError(f"labels must hold every class, got none of {int(counts.argmin())}")
        self.counts, self.batch_size = counts.tolist(), batch_size
        stored = images.flatten(1)[labels.argsort(stable=True)]
        self.register_buffer("stored", stored, persistent=False)
        self.register_buffer("squares", stored.square().sum(dim=1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, K)."""
        difference = images[:, None] - self.nearest(images).to(images.dtype)
        return -difference.flatten(2).square().sum(dim=2)

    def nearest(self, images: Tensor) -> Tensor:
        """The nearest stored image of each class (N, K, C, H, W) for images (N, C, H, W)."""
        with torch.no_grad():
            flat = images.detach().flatten(1).to(self.stored.dtype)
            indices = torch.cat([self._indices(part) for part in flat.split(self.batch_size)])
        return self.stored[indices].unflatten(2, images.shape[1:])

    def _indices(self, pixels: Tensor) -> Tensor:
        """Indices (N, K) into the stored images, which are sorted by class."""
        # ‖x − x_c‖² without ‖x‖², which is the same for all.
        distances = self.squares - 2 * pixels @ self.stored.T
        indices, begin = [], 0
        for part in distances.split(self.counts, dim=1):
            indices.append(part.argmin(dim=1) + begin)
            begin += part.shape[1]
        return torch.stack(indices, dim=1)
