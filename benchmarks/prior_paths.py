"""Images followed along the prior's path, what the studies of Deep Image Prior share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.defenses import DeepImagePrior
from armsrace.models.layers import predict

STUDY = "deep_image_prior"
WIDTHS = (16, 16, 16)
STOP, BATCH = 30, 50


def attacked(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """The images after ten steps of BIM, of a fifth of the budget each."""
    if epsilon == 0:
        return images
    return attacks.bim(
        model, images, labels, epsilon=epsilon, steps=10, step_size=epsilon / 5
    ).images


class Followed:
    """Images on the prior's path, judged at each station.

    right: (S, N) bool, whether the drawing is classified correctly. residuals, distances: (S, N),
    its mean squared error a pixel to the image drawn after, and to the clean one.
    """

    def __init__(
        self, prior: DeepImagePrior, model: nn.Module, images: Tensor, clean: Tensor,
        labels: Tensor, steps: list[int],
    ) -> None:  # fmt: skip
        right, residuals, distances = [], [], []
        for places in torch.arange(len(images)).split(BATCH):
            path = prior.path(images[places], steps)
            read = predict(model, path.images.flatten(0, 1)).argmax(dim=1)
            right.append(read.unflatten(0, (len(steps), -1)) == labels[places])
            residuals.append(path.residuals)
            distances.append((path.images - clean[places]).square().flatten(2).mean(dim=2))
        self.right = torch.cat(right, dim=1)
        self.residuals, self.distances = torch.cat(residuals, dim=1), torch.cat(distances, dim=1)

    @property
    def accuracies(self) -> list[float]:
        """Of each station."""
        return means(self.right)

    def within(self, tolerance: float) -> Tensor:
        """The first station (N,) at which the residual is within the tolerance, or the last."""
        near = self.residuals <= tolerance
        near[-1] = True
        return near.int().argmax(dim=0)


def means(rows: Tensor) -> list[float]:
    """The mean of each row (S, N)."""
    return [float(value) for value in rows.double().mean(dim=1)]
