"""The latents by which each class explains an image best, by the paper's search.

Images and reconstructions are flat, (N, P) and (N, K, P); latents are (N, K, L).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from armsrace.contracts import check_at_least, check_count
from armsrace.defenses.prior_samples import ClassGenerators

Objective = Callable[[Tensor, Tensor], Tensor]
"""Squared errors (N, K) and squared lengths of the latents (N, K) -> what is minimised (N, K)."""


def evidence(error: Tensor, length: Tensor) -> Tensor:
    """‖x − G(z)‖² + ‖z‖² / 2: twice the negative log evidence at σ² = ½, constants dropped."""
    return error + length / 2


def within(latents: Tensor, radius: float) -> Tensor:
    """Latents (…, L), those longer than the radius shortened to it, in their own direction."""
    length = latents.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(latents.dtype).tiny)
    return latents * (radius / length).clamp_max(1)


@dataclass(frozen=True)
class Found:
    """Latents (N, K, L), what they draw (N, K, P), and the objective (N, K) that they reach."""

    latents: Tensor
    images: Tensor
    values: Tensor


@dataclass(frozen=True)
class AdamSearch:
    """Steps of Adam from one start, the latents held within a radius: the paper's protocol.

    starts: one. The best latents met are kept. Raises ValueError or TypeError naming the setting
    and the rule that it breaks.
    """

    steps: int = 50
    rate: float = 0.05
    radius: float = 5.0
    starts: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        check_at_least("rate", self.rate, 1e-9)
        check_at_least("radius", self.radius, 1e-9)

    def __call__(
        self, generators: ClassGenerators, pixels: Tensor, starts: Tensor,
        objective: Objective = evidence,
    ) -> Found:  # fmt: skip
        """The best latents for images (N, P), from the first of starts (N, R, K, L)."""
        best = within(starts[:, 0].detach(), self.radius)
        latents = best.clone().requires_grad_()
        lowest = torch.full_like(best[..., 0], torch.inf)
        adam = torch.optim.Adam([latents], lr=self.rate)
        for step in range(self.steps + 1):
            with torch.enable_grad():
                drawn = generators.draw(latents)
                error = (drawn - pixels[:, None]).square().sum(dim=2)
                values = objective(error, latents.square().sum(dim=2))
                better = values.detach() < lowest
                lowest = torch.where(better, values.detach(), lowest)
                best = torch.where(better[..., None], latents.detach(), best)
                if step == self.steps:
                    break
                (latents.grad,) = torch.autograd.grad(values.sum(), latents)
            adam.step()
            with torch.no_grad():
                latents.copy_(within(latents, self.radius))
        with torch.no_grad():
            return Found(best, generators.draw(best), lowest)


def slope_left(
    generators: ClassGenerators, pixels: Tensor, latents: Tensor, radius: float = 5.0
) -> Tensor:
    """How far from an optimum of `evidence` latents (N, K, L) are, (N, K): 0 at one.

    The length of the gradient for images (N, P), without what the sphere of the radius holds back.
    """
    variable = latents.detach().clone().requires_grad_()
    with torch.enable_grad():
        error = (generators.draw(variable) - pixels[:, None]).square().sum(dim=2)
        values = evidence(error, variable.square().sum(dim=2))
        (slope,) = torch.autograd.grad(values.sum(), variable)
    outward = latents / latents.norm(dim=2, keepdim=True).clamp_min(radius * 1e-9)
    across = (slope * outward).sum(dim=2, keepdim=True).clamp_max(0)
    held = latents.norm(dim=2, keepdim=True) >= radius * (1 - 1e-5)
    return (slope - torch.where(held, across * outward, 0)).norm(dim=2)
