"""Untrained networks on their way to the images that they are to draw, a network an image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from armsrace.attacks.randomness import Keys
from armsrace.models.skip_network import SkipNetwork

INPUTS = 32
"""The depth of a code, the authors'."""


class PriorFit:
    """The networks of the images left, and what was drawn of all N.

    images: (N, C, H, W). generator: of weights, codes and noise, all tied to the image.
    architecture: of `SkipNetwork`. learning_rate: Adam's. jitter: the standard deviation of the
    noise added to the codes at each step.

    drawn: (N, C, H, W), the last of each image. residuals: (N,), its mean squared error a pixel.
    """

    def __init__(
        self,
        images: Tensor,
        generator: torch.Generator,
        architecture: dict[str, Any],
        *,
        learning_rate: float,
        jitter: float,
    ) -> None:
        self.images, self.generator, self.architecture = images, generator, architecture
        self.jitter = jitter
        self.keys, self.left = Keys(images), torch.arange(len(images), device=images.device)
        self.drawn = torch.zeros_like(images)
        self.residuals = torch.full((len(images),), torch.inf).to(images)
        self.codes = 0.1 * self.keys.uniform((INPUTS, *images.shape[2:]), generator)
        self.network = self._network()
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv2d):
                self._initialise(layer)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
        self.optimizer = Adam(self.network.parameters(), learning_rate)
        self.objective = torch.zeros(0)

    def draw(self) -> None:
        """Draw the images left."""
        if len(self.left) == 0:
            return
        noise = self.jitter * self.keys.normal(self.codes.shape[1:], self.generator)
        drawn = self.network(self.codes + noise)
        self.objective = (drawn - self.images[self.left]).square().flatten(1).mean(dim=1)
        self.drawn[self.left], self.residuals[self.left] = drawn.detach(), self.objective.detach()

    def descend(self, tolerance: float | None) -> None:
        """Move the weights, and let the images go whose residual was within the tolerance."""
        if len(self.left) == 0:
            return
        self.optimizer.zero_grad(set_to_none=True)
        # A sum: no image's step depends on how many others there are.
        self.objective.sum().backward()
        self.optimizer.step()
        kept = self.residuals[self.left] > (-1.0 if tolerance is None else tolerance)
        if not kept.all():
            self._keep(kept)

    def _network(self) -> SkipNetwork:
        count, channels = len(self.left), self.images.shape[1]
        # PyTorch would draw weights from its global generator; ours are set by the caller.
        with torch.device("meta"):
            network = SkipNetwork(count, channels, inputs=INPUTS, **self.architecture)
        return network.to(self.images.dtype).to_empty(device=self.images.device)

    @torch.no_grad()
    def _initialise(self, layer: nn.Conv2d) -> None:
        """PyTorch's default for convolutions, but drawn by each image's own keys."""
        bound = layer.weight[0].numel() ** -0.5
        for values in (layer.weight, layer.bias):
            if values is not None:
                shape = len(values) // len(self.left), *values.shape[1:]
                numbers = self.keys.uniform(shape, self.generator)
                values.copy_(bound * (2 * numbers - 1).flatten(0, 1))

    @torch.no_grad()
    def _keep(self, kept: Tensor) -> None:
        """Go on with the images chosen by a bool mask over those left."""
        count = len(self.left)
        self.left, self.keys, self.codes = self.left[kept], self.keys[kept], self.codes[kept]
        if len(self.left) == 0:
            return

        def part(values: Tensor) -> Tensor:
            return values.unflatten(0, (count, -1))[kept].flatten(0, 1)

        before, self.network = self.network, self._network()
        for old, new in zip(before.parameters(), self.network.parameters(), strict=True):
            new.copy_(part(old))
            state = self.optimizer.state.pop(old)
            self.optimizer.state[new] = {
                name: part(value) if value.ndim else value for name, value in state.items()
            }
        self.optimizer.param_groups[0]["params"] = list(self.network.parameters())
