"""Radial basis functions: classes that are sure near their centre only (Goodfellow et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class QuadraticUnits(nn.Module):
    """One centre μ and one diagonal β > 0 a class: logits −(x − μ)ᵀβ(x − μ), at most 0.

    A logit is a log-confidence: p(k | x) = exp(−(x − μ_k)ᵀβ_k(x − μ_k)) of Goodfellow et al. 2015,
    §7. The confidences of one image need not sum to 1, and all are near 0 far from every centre.
    The paper's β is a matrix; a diagonal one learns 784 numbers a class and not 307,720.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(0.1 * torch.rand(classes, features))
        # A pixel that is black in every digit keeps the precision it starts with: at exp(−3) an
        # image with gray there is far from all centres, at exp(−5) it is not.
        self.log_precisions = nn.Parameter(torch.full((classes, features), -3.0))

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, D) to logits (N, K)."""
        precisions = self.log_precisions.exp()
        weighted = precisions * self.centers
        # The square multiplied out: two matrix products in place of N · K · D differences.
        constant = (weighted * self.centers).sum(dim=1)
        quadratic = features.square() @ precisions.T - 2 * features @ weighted.T + constant
        return -quadratic.clamp_min(0)


def rbf(classes: int = 10, features: int = 784) -> nn.Sequential:
    """Goodfellow et al. 2015's shallow RBF network for MNIST: one quadratic unit a class."""
    return nn.Sequential(nn.Flatten(), QuadraticUnits(features, classes))
