"""One small variational autoencoder a class, all in one network: analysis by synthesis's models."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 100
"""Images that pass through all classes at once: the encoders widen each to 5,760 planes."""


class ClassVaes(nn.Module):
    """K variational autoencoders with L latents each, of digits (28 × 28), as grouped convolutions.

    Encoder: 32 filters of 5×5, 32 of 4×4 at stride 2, 64 of 3×3 at stride 2, 2 L of 5×5; decoder:
    transposed convolutions, 32 of 4×4, 16 of 5×5 and 16 of 5×5 at stride 2, 1 of 4×4, a sigmoid;
    batch normalisation and ELU after all but the last layers. Schott et al. 2019, in the sizes of
    the authors' code. A group knows nothing of the others.
    """

    def __init__(self, classes: int = 10, latents: int = 8) -> None:
        super().__init__()
        self.classes, self.latents = classes, latents
        self.encoder = nn.Sequential(
            *_block(nn.Conv2d, classes, 1, 32, 5), *_block(nn.Conv2d, classes, 32, 32, 4, 2),
            *_block(nn.Conv2d, classes, 32, 64, 3, 2),
            nn.Conv2d(64 * classes, 2 * latents * classes, 5, groups=classes),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            *_block(nn.ConvTranspose2d, classes, latents, 32, 4),
            *_block(nn.ConvTranspose2d, classes, 32, 16, 5, 2),
            *_block(nn.ConvTranspose2d, classes, 16, 16, 5, 2),
            nn.ConvTranspose2d(16 * classes, classes, 4, groups=classes),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances of the latents, each (N, K, L), of images (N, K, 28, 28).

        Plane k of an image goes to class k's encoder.
        """
        moments = self.encoder(images).view(len(images), self.classes, 2, self.latents)
        return moments[:, :, 0], moments[:, :, 1]

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, K, 28, 28) in [0, 1] of latents (N, K, L), each by its own class's decoder."""
        return cast(Tensor, self.decoder(latents.reshape(len(latents), -1, 1, 1))).sigmoid()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images x (N, 1, 28, 28): −½ (‖x − G(z)‖² + ‖z‖² / 2).

        z is the mean of class k's encoder: inference in one pass, only as good as the encoders are
        on digits of another class. The paper's, by search, is `defenses.AnalysisBySynthesis`.
        """
        return torch.cat([self._amortised(part) for part in images.split(CHUNK)])

    def _amortised(self, images: Tensor) -> Tensor:
        planes = images.expand(-1, self.classes, -1, -1)
        latents, _ = self.encode(planes)
        error = F.mse_loss(self.decode(latents), planes, reduction="none").flatten(2).sum(dim=2)
        return -(error + latents.square().sum(dim=2) / 2) / 2


def _block(
    kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], classes: int, inputs: int, outputs: int,
    kernel: int, stride: int = 1,
) -> tuple[nn.Module, ...]:  # fmt: skip
    planes = classes * outputs
    layer = kind(classes * inputs, planes, kernel, stride, groups=classes)
    return layer, nn.BatchNorm2d(planes), nn.ELU()
