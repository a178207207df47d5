"""Latents drawn from the prior once, with what each class draws of them: where searches begin."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from armsrace.attacks.randomness import default_generator
from armsrace.contracts import check_count

UNLIKELY = 0.1
"""The share of draws dropped, those farthest out (Schott et al.'s code)."""
CHUNK = 250


class ClassGenerators(Protocol):
    """K generators of images with P pixels from L latents; `models.ClassDecoders` is one."""

    classes: int
    latents: int

    def draw(self, latents: Tensor) -> Tensor:
        """Images (N, K, P) of latents (N, K, L), differentiable in them."""

    def linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, K, P) and their slopes (N, K, L, P), without a graph."""


class PriorSamples(nn.Module):
    """S latents of the prior N(0, 1) without its least likely tenth, drawn by all K classes.

    latents: (S, L). images: (K, S, P), a quarter of a gigabyte for 8,000 samples of ten classes.
    Neither is stored with the module's state. Raises ValueError or TypeError where the count is no
    integer >= 1.
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
        drawn = torch.randn(
            math.ceil(count / (1 - UNLIKELY)), generators.latents,
            generator=generator, device=generator.device,
        )  # fmt: skip
        likely = drawn.square().sum(dim=1).argsort(stable=True)[:count].sort().values
        with torch.no_grad():
            parts = [self._drawn(generators, part) for part in drawn[likely].split(CHUNK)]
        images = torch.cat(parts).transpose(0, 1).contiguous()
        # The generators' dtype and device show in what they draw.
        self.register_buffer("latents", drawn[likely].to(images), persistent=False)
        self.register_buffer("images", images, persistent=False)
        sizes = images.square().sum(dim=2) + self.latents.square().sum(dim=1) / 2
        self.register_buffer("costs", sizes, persistent=False)

    def best(self, pixels: Tensor, parts: int = 1) -> Tensor:
        """The best sample of each of R parts of them (N, R, K, L), for images (N, P) and class k.

        Best is the least ‖x − G(z)‖² + ‖z‖² / 2, by one matrix product. The parts are every R-th
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

    @staticmethod
    def _drawn(generators: ClassGenerators, latents: Tensor) -> Tensor:
        return generators.draw(latents[:, None].expand(-1, generators.classes, -1))
