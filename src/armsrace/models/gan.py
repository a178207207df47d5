"""Defense-GAN's generators and the critic they are trained with, for 28 × 28 images.

Samangouei, Kabkab and Chellappa 2018, and the authors' code (`gan.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armsrace.contracts import check_count
from armsrace.models.layers import ToOneChannel, predict

LATENTS = 128


class Generator(nn.Sequential):
    """Latents (N, L) to images (N, 1, 28, 28) in [0, 1]; `latents` is L."""

    def __init__(self, latents: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.latents = latents

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Images (count, 1, 28, 28) of random latents, on the weights' device.

        Args:
            count: at least 1.
            generator: where latents are drawn from, N(0, I), on its own device; a new one seeded 0
                by default.
        """
        check_count("count", count)
        source = generator or torch.Generator().manual_seed(0)
        latents = torch.randn(count, self.latents, generator=source, device=source.device)
        return predict(self, latents.to(next(self.parameters()).device))


class _Cropped(nn.Module):
    """The upper left 7 × 7 of each plane."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, H, W) to (N, C, 7, 7)."""
        return features[:, :, :7, :7]


def original(filters: int = 64) -> Generator:
    """The generator of Samangouei et al. 2018: no batch normalization.

    128 latents, dense to 4 × 4, three transposed convolutions of 5 × 5, the first cropped to 7 × 7.
    """
    return Generator(
        LATENTS,
        nn.Linear(LATENTS, 16 * 4 * filters), nn.Unflatten(1, (4 * filters, 4, 4)), nn.ReLU(),
        _doubling(4 * filters, 2 * filters, 5), _Cropped(), nn.ReLU(),
        _doubling(2 * filters, filters, 5), nn.ReLU(), _doubling(filters, 1, 5), nn.Sigmoid(),
    )  # fmt: skip


def compact(filters: int = 32) -> Generator:
    """The same latents, dense to 7 × 7 at once, then two transposed convolutions of 4 × 4.

    Ours, for a CPU: it leaves out the layer that does half of the original's work.
    """
    return Generator(
        LATENTS,
        nn.Linear(LATENTS, 49 * 2 * filters), nn.Unflatten(1, (2 * filters, 7, 7)), nn.ReLU(),
        _doubling(2 * filters, filters, 4), nn.ReLU(), _doubling(filters, 1, 4), nn.Sigmoid(),
    )  # fmt: skip


def critic(filters: int = 64, kernel: int = 5) -> nn.Sequential:
    """Images (N, 1, 28, 28) to scores (N, 1): three strided convolutions, leaky ReLU of .2.

    kernel: 5 in the paper; 4 covers each pixel equally often at stride 2.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, filters), (filters, 2 * filters), (2 * filters, 4 * filters)):
        # A kernel of 5 halves 7 to 4, as TensorFlow's "same" does, and a kernel of 4 to 3.
        layers += [nn.Conv2d(inputs, outputs, kernel, 2, (kernel - 1) // 2), nn.LeakyReLU(0.2)]
    side = 4 if kernel % 2 else 3
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(side**2 * 4 * filters, 1))


def _doubling(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    """A transposed convolution, twice as wide and high."""
    padding, more = (kernel - 1) // 2, kernel % 2
    if outputs == 1:
        return ToOneChannel(inputs, kernel, 2, padding, more)
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, padding, more)
