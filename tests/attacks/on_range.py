"""A linear decoder and a linear classifier of two classes, on which what is nearest is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from armsrace.attacks.generative.overpowered import Pairs, overpowered
from armsrace.contracts import Bounds

LATENTS, SHAPE, WIDE = 3, (1, 3, 4), Bounds(-50, 50)
EPSILON = 0.8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Linear(nn.Module):
    """½ + z W with orthonormal rows of W: distances of latents are distances of images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(drawn(12, LATENTS, seed=1))[0].T.contiguous())

    def forward(self, latents: Tensor) -> Tensor:
        return (0.5 + latents @ self.weight).view(-1, *SHAPE)


def linear_classifier() -> nn.Sequential:
    """Two classes: the second where w · x + b > 0."""
    layer = nn.Linear(12, 2).double()
    half = drawn(12, seed=2)
    layer.weight.data, layer.bias.data = torch.stack([-half, half]), drawn(2, seed=3)
    return nn.Sequential(nn.Flatten(), layer)


def normal_in_range(decoder: Linear, classifier: nn.Sequential) -> tuple[Tensor, Tensor]:
    """The logit difference as a function v · z + c of the latents: v (L,) and c."""
    with torch.no_grad():
        weights = classifier[1].weight[1] - classifier[1].weight[0]
        bias = classifier[1].bias[1] - classifier[1].bias[0]
        return decoder.weight @ weights, 0.5 * weights.sum() + bias


def some_pairs(decoder: nn.Module, classifier: nn.Module, count: int = 8, **options: Any) -> Pairs:
    starts = drawn(count, 2, LATENTS, seed=5)
    options = {"epsilon": EPSILON, "bounds": WIDE, "steps": 60} | options
    return overpowered(classifier, decoder, starts, **options)
