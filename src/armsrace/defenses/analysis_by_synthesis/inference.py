"""Inference by the paper's search: for each class, the latents z that explain an image x best.

Schott, Rauber, Bethge and Brendel 2019, §3 and appendix: of many samples of the prior take the best
one, then descend from there.

Images and reconstructions are flat, (N, P) and (N, K, P); latents are (N, K, L).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from armsrace.contracts import check_at_least, check_count
from armsrace.randomness import default_generator

UNLIKELY = 0.1
"""The fraction of samples dropped, those farthest from 0 (the authors' code)."""
SAMPLES_AT_ONCE = 250
"""Samples decoded at once."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""Squared errors (N, K) and squared lengths of the latents (N, K) -> what is minimized (N, K)."""


class ClassGenerators(Protocol):
    """G_1, …, G_K: generators of images with P pixels; `models.abs_vae.ClassDecoders` is one."""

    classes: int
    latents: int

    def draw(self, latents: Tensor) -> Tensor:
        """Images (N, K, P) of latents (N, K, L), differentiable in them."""

    def linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, K, P) and their Jacobians (N, K, L, P) in the latents, without a graph."""


@dataclass(frozen=True)
class Found:
    """The best latents (N, K, L), their images G(z) (N, K, P), and the objective there (N, K)."""

    latents: Tensor
    images: Tensor
    values: Tensor


def evidence(error: Tensor, length: Tensor) -> Tensor:
    """‖x − G(z)‖² + ‖z‖² / 2: the negative log evidence at σ² = ½, without constants.

    error: ‖x − G(z)‖². length: ‖z‖².
    """
    return error + length / 2


class PriorSamples(nn.Module):
    """S samples of the prior N(0, 1) without its least likely tenth, decoded by all K classes.

    latents: (S, L). images: (K, S, P), a quarter of a gigabyte for 8,000 samples of ten classes.
    Neither is stored with the module's state.
    """

    latents: Tensor
    images: Tensor
    costs: Tensor

    def __init__(
        self, generators: ClassGenerators, count: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        check_count("samples", count)
        generator = default_generator(generator)
        z = torch.randn(
            math.ceil(count / (1 - UNLIKELY)), generators.latents,
            generator=generator, device=generator.device,
        )  # fmt: skip
        likely = z.square().sum(dim=1).argsort(stable=True)[:count].sort().values
        with torch.no_grad():
            parts = [
                generators.draw(part[:, None].expand(-1, generators.classes, -1))
                for part in z[likely].split(SAMPLES_AT_ONCE)
            ]
        images = torch.cat(parts).transpose(0, 1).contiguous()
        # The generators' dtype and device are those of their images.
        self.register_buffer("latents", z[likely].to(images), persistent=False)
        self.register_buffer("images", images, persistent=False)
        costs = images.square().sum(dim=2) + self.latents.square().sum(dim=1) / 2
        self.register_buffer("costs", costs, persistent=False)

    def best(self, pixels: Tensor, parts: int = 1) -> Tensor:
        """The best samples (N, R, K, L) for images (N, P), one of each of R parts of the samples.

        Best is the least ‖x − G(z)‖² + ‖z‖² / 2, by one matrix product. Part r has every R-th
        sample. Raises ValueError where there are fewer samples than parts.
        """
        check_count("parts", parts)
        if parts > len(self.latents):
            raise ValueError(f"parts must be <= {len(self.latents)} samples, got {parts}")
        # ‖x‖² is the same for all.
        products = pixels.to(self.images.dtype) @ self.images.flatten(0, 1).T
        costs = self.costs - 2 * products.view(len(pixels), *self.costs.shape)
        chosen = [costs[..., r::parts].argmin(dim=2) * parts + r for r in range(parts)]
        return self.latents[torch.stack(chosen, dim=1)]


@dataclass(frozen=True)
class AdamSearch:
    """The paper's search: Adam from one start, the latents held within a radius.

    The best latents of all steps count, not the last ones.

    Args:
        steps: of Adam.
        rate: its step size.
        radius: the largest ‖z‖ allowed.

    Cost:
        One forward and one backward pass of all decoders per step, and two forward passes more.

    References:
        Schott, Rauber, Bethge and Brendel 2019, §3 and appendix.
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
        z = best.clone().requires_grad_()
        least = torch.full_like(best[..., 0], torch.inf)
        adam = torch.optim.Adam([z], lr=self.rate)
        for step in range(self.steps + 1):
            with torch.enable_grad():
                error = (generators.draw(z) - pixels[:, None]).square().sum(dim=2)
                cost = objective(error, z.square().sum(dim=2))
                better = cost.detach() < least
                least = torch.where(better, cost.detach(), least)
                best = torch.where(better[..., None], z.detach(), best)
                if step == self.steps:
                    break
                (z.grad,) = torch.autograd.grad(cost.sum(), z)
            adam.step()
            with torch.no_grad():
                z.copy_(within(z, self.radius))
        with torch.no_grad():
            return Found(best, generators.draw(best), least)


def within(latents: Tensor, radius: float) -> Tensor:
    """Latents (…, L), those longer than the radius shortened to it, in their own direction."""
    length = latents.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(latents.dtype).tiny)
    return latents * (radius / length).clamp_max(1)


def projected_grad_norm(
    generators: ClassGenerators, pixels: Tensor, latents: Tensor, radius: float = 5.0
) -> Tensor:
    """How far latents (N, K, L) are from an optimum of `evidence` within the radius, (N, K).

    The norm of the gradient for images (N, P), 0 at an optimum. At latents on the sphere of the
    radius, its part that points outward does not count.
    """
    z = latents.detach().clone().requires_grad_()
    with torch.enable_grad():
        error = (generators.draw(z) - pixels[:, None]).square().sum(dim=2)
        cost = evidence(error, z.square().sum(dim=2))
        (grad,) = torch.autograd.grad(cost.sum(), z)
    outward = latents / latents.norm(dim=2, keepdim=True).clamp_min(radius * 1e-9)
    # Descent goes against the gradient: outward where their product is negative.
    along = (grad * outward).sum(dim=2, keepdim=True).clamp_max(0)
    on_sphere = latents.norm(dim=2, keepdim=True) >= radius * (1 - 1e-5)
    return (grad - torch.where(on_sphere, along * outward, 0)).norm(dim=2)
