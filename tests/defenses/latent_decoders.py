"""Decoders whose nearest images are known, and searches that suit them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from armsrace.defenses import LatentSearch

LATENTS, PIXELS = 3, 16


class Linear(nn.Module):
    """½ + z W, with orthonormal rows of W; it counts what it decodes and notes its mode."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        noise = torch.randn(PIXELS, LATENTS, generator=seeded(1), dtype=dtype)
        self.weight = nn.Parameter(torch.linalg.qr(noise)[0].T.contiguous())
        self.decoded, self.trained = 0, False

    def forward(self, latents: Tensor) -> Tensor:
        self.decoded += len(latents)
        self.trained |= self.training
        return (0.5 + latents @ self.weight).view(-1, 1, 4, 4)


class Wells(nn.Module):
    """One latent on a rugged way: cos 7z drawn beside z / 4, so that most starts get stuck."""

    def forward(self, latents: Tensor) -> Tensor:
        pair = torch.cat([0.5 + latents / 4, 0.5 + (7 * latents).cos() / 2], dim=1)
        return pair.view(-1, 1, 1, 2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def targets(count: int, reach: float = 0.1) -> Tensor:
    """Latents whose images lie inside [0, 1]."""
    return reach * torch.randn(count, LATENTS, generator=seeded(2), dtype=torch.float64)


def some_images(count: int) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=seeded(3), dtype=torch.float64)


def rugged_images(count: int) -> Tensor:
    wanted = torch.linspace(-0.8, 0.8, count, dtype=torch.float64)[:, None]
    return Wells()(wanted)


# The Hessian is 2 / PIXELS times the identity: this rate halves the error at each step.
SEARCH = LatentSearch(LATENTS, restarts=4, steps=40, optimizer=partial(SGD, lr=PIXELS / 4))
RUGGED = LatentSearch(1, restarts=8, steps=32, optimizer=partial(Adam, lr=0.05))
