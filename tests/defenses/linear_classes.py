"""Classes whose images are linear in their latents: the best explanation is known exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES, LATENTS, SHAPE = 3, 2, (1, 4, 4)
PIXELS = 16


class LinearClasses(nn.Module):
    """½ + z W of each class, float64; ClassGenerators without a network."""

    classes, latents = CLASSES, LATENTS

    def __init__(self, scale: float = 0.3, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        shape = (CLASSES, LATENTS, PIXELS)
        self.register_buffer("weight", scale * torch.randn(shape, generator=generator).to(dtype))
        self.register_buffer("bias", torch.rand(CLASSES, 1, PIXELS, generator=generator).to(dtype))

    def draw(self, latents: Tensor) -> Tensor:
        drawn = torch.baddbmm(self.bias, latents.transpose(0, 1).to(self.weight), self.weight)
        return drawn.transpose(0, 1)

    def linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        return self.draw(latents), self.weight.expand(len(latents), -1, -1, -1)

    def best(self, images: Tensor, weight: float = 0.5) -> tuple[Tensor, Tensor]:
        """Latents (N, K, L) and costs (N, K) at the optimum of ‖x − G(z)‖² + weight ‖z‖²."""
        wanted = images.flatten(1)[:, None] - self.bias.transpose(0, 1)
        matrix = self.weight @ self.weight.mT + weight * torch.eye(LATENTS).to(self.weight)
        right = torch.einsum("klp,nkp->nkl", self.weight, wanted)
        latents = torch.linalg.solve(matrix, right[..., None])[..., 0]
        error = (self.draw(latents) - images.flatten(1)[:, None]).square().sum(dim=2)
        return latents, error + weight * latents.square().sum(dim=2)


class CurvedClasses(LinearClasses):
    """The same behind a sigmoid: residuals have a curvature of their own."""

    def __init__(self) -> None:
        super().__init__(scale=2.0)

    def draw(self, latents: Tensor) -> Tensor:
        return super().draw(latents).sub(0.5).sigmoid()

    def linearized(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        drawn = self.draw(latents)
        return drawn, self.weight * (drawn * (1 - drawn))[:, :, None]


def some_images(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, *SHAPE, generator=generator).to(dtype)


def noisy_draws(model: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    """Draws of the classes in turn with some noise, and the class that a model reads in each."""
    generator = torch.Generator().manual_seed(4)
    latents = 0.5 * torch.randn(count, CLASSES, LATENTS, generator=generator).double()
    drawn = model.generators.draw(latents)[torch.arange(count), torch.arange(count) % CLASSES]
    images = (drawn + 0.05 * torch.randn(count, PIXELS, generator=generator)).clamp(0, 1)
    images = images.view(-1, *SHAPE)
    return images, model(images).argmax(dim=1)
