"""Deep Image Prior as a defense: an untrained network is fitted to the image and stopped early.

Ulyanov, Vedaldi and Lempitsky 2018, "Deep image prior", for denoising; the first version of Jalal,
Ilyas, Daskalakis and Dimakis 2017 puts it in front of a classifier. The weights θ of a network f
descend on ‖f_θ(z) − x‖² for one image x and one fixed code z. A natural image is fitted before
noise is, so that early stopping leaves noise out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from armsrace.contracts import check_at_least, check_count, check_images
from armsrace.models.skip_network import SkipNetwork
from armsrace.norms import batch_view
from armsrace.randomness import Keys, default_generator

INPUTS = 32
"""The channels of a code, the authors'."""


class DeepImagePrior(nn.Module):
    """A purifier: each image as a new network, fitted to it alone, reconstructs it after `steps`.

    Randomness is tied to the image, so that a batch gives what single images do, up to rounding. An
    image that is noise itself is fitted along a path that amplifies rounding. The result has no
    gradient: attack it through `attacks.adaptive.bpda`, or with the gradient through all steps,
    `attacks.adaptive.unrolled`, which calls the module with differentiable=True.

    Args:
        steps: of Adam; the defense is that there are no more of them.
        tolerance: an image is done once its mean squared error per pixel is at most this, e.g. the
            power of the noise expected in it.
        widths: of `SkipNetwork`.
        skip: of `SkipNetwork`.
        learning_rate: of Adam; .01 is the authors'.
        jitter: the standard deviation of the fresh noise added to the code at each step; 1/30 is
            the authors'. The code is uniform on [0, .1).
        generator: where weights, codes and noise are drawn from, call by call. None begins a new
            generator, seeded 0, at each call, so that an image is always purified alike.

    Differences from the paper:
        * The average over steps that the authors return for denoising is left out: it lags by a
          hundred steps.

    Cost:
        `steps` forward and backward passes of a network per image. With differentiable=True the
        memory of all of them, and about four times the time with the backward pass.

    References:
        Ulyanov, Vedaldi and Lempitsky 2018, "Deep image prior".
        Jalal, Ilyas, Daskalakis and Dimakis 2017, "The robust manifold defense", first version.

    Example:
        >>> prior = defenses.DeepImagePrior(steps=2, widths=(8, 8), skip=2)
        >>> prior(torch.ones(1, 1, 28, 28)).shape
        torch.Size([1, 1, 28, 28])
    """

    def __init__(
        self,
        steps: int = 300,
        *,
        tolerance: float | None = None,
        widths: Sequence[int] = (32, 32, 32),
        skip: int = 4,
        learning_rate: float = 0.01,
        jitter: float = 1 / 30,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_count("steps", steps)
        check_at_least("tolerance", 0.0 if tolerance is None else tolerance, 0)
        check_at_least("learning_rate", learning_rate, 0)
        check_at_least("jitter", jitter, 0)
        self.steps, self.tolerance, self.generator = steps, tolerance, generator
        self.settings = {"learning_rate": learning_rate, "jitter": jitter}
        self.architecture = {"widths": tuple(widths), "skip": skip}

    def forward(self, images: Tensor, *, differentiable: bool = False) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to their reconstructions, of the same shape."""
        if differentiable and images.requires_grad and torch.is_grad_enabled():
            return self._on_graph(images)
        return self.path(images, [self.steps]).images[0]

    def _on_graph(self, images: Tensor) -> Tensor:
        """As `forward`, every step of the weights a function of the images."""
        check_images(images.detach())
        generator = default_generator(self.generator)
        fit = PriorFit(images.detach(), generator, self.architecture, **self.settings)
        weights = {k: p.detach().requires_grad_() for k, p in fit.network.named_parameters()}
        adam = GraphAdam(list(weights.values()), self.settings["learning_rate"])
        kept, done = torch.zeros_like(images), torch.zeros_like(fit.residuals, dtype=torch.bool)
        for step in range(1, self.steps + 1):
            drawn = functional_call(fit.network, weights, (fit.jittered(),))
            kept = torch.where(batch_view(done), kept, drawn)
            if step < self.steps:
                objective = (drawn - images).square().flatten(1).mean(dim=1)
                if self.tolerance is not None:
                    done = done | (objective.detach() <= self.tolerance)
                grads = torch.autograd.grad(
                    objective.sum(), list(weights.values()), create_graph=True
                )
                weights = dict(zip(weights, adam.step(grads), strict=True))
        return kept

    def path(self, images: Tensor, at: Sequence[int]) -> Path:
        """The reconstructions after each of the numbers of steps in `at`, in one run.

        Args:
            images: (N, C, H, W) in [0, 1].
            at: increasing numbers of steps, from 1.

        Returns:
            The path. An image that is within the tolerance stays as it was then.
        """
        check_images(images)
        at = tuple(at)
        if not at or min(at) < 1 or list(at) != sorted(set(at)):
            raise ValueError(f"at must hold rising numbers of steps >= 1, got {list(at)}")
        with torch.inference_mode(False), torch.enable_grad():
            generator = default_generator(self.generator)
            fit = PriorFit(images.detach().clone(), generator, self.architecture, **self.settings)
            path = []
            for step in range(1, at[-1] + 1):
                fit.reconstruct()
                if step in at:
                    path.append((fit.reconstructions.clone(), fit.residuals.clone()))
                if step < at[-1]:
                    fit.step(self.tolerance)
        reconstructions, residuals = zip(*path, strict=True)
        return Path(at, torch.stack(reconstructions), torch.stack(residuals))


@dataclass(frozen=True)
class Path:
    """Reconstructions f_θ(z) on the way to the images x.

    steps: S numbers of steps. images: (S, N, C, H, W). residuals: (S, N), the mean squared error
    per pixel to x.
    """

    steps: tuple[int, ...]
    images: Tensor
    residuals: Tensor


class PriorFit:
    """One network per image, all fitted side by side, and the reconstructions of all N images.

    images: x (N, C, H, W). generator: of weights, codes and noise, all tied to the image.
    architecture: of `SkipNetwork`. learning_rate: of Adam. jitter: as of `DeepImagePrior`.

    active: the places of the images that are still fitted. reconstructions: (N, C, H, W), the last
    of each image. residuals: (N,), its mean squared error per pixel.
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
        self.keys, self.active = Keys(images), torch.arange(len(images), device=images.device)
        self.reconstructions = torch.zeros_like(images)
        self.residuals = torch.full((len(images),), torch.inf).to(images)
        self.codes = 0.1 * self.keys.uniform((INPUTS, *images.shape[2:]), generator)
        self.network = self._network()
        for layer in self.network.modules():
            if isinstance(layer, nn.Conv2d):
                self._initialize(layer)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
        self.optimizer = Adam(self.network.parameters(), learning_rate)
        self.objective = torch.zeros(0)

    def reconstruct(self) -> None:
        """Compute f_θ(z) and its residual for the images under fit."""
        if len(self.active) == 0:
            return
        images = self.network(self.jittered())
        self.objective = (images - self.images[self.active]).square().flatten(1).mean(dim=1)
        self.reconstructions[self.active] = images.detach()
        self.residuals[self.active] = self.objective.detach()

    def jittered(self) -> Tensor:
        """The codes with fresh noise."""
        noise = self.keys.normal(self.codes.shape[1:], self.generator)
        return self.codes + self.jitter * noise

    def step(self, tolerance: float | None) -> None:
        """One step of the weights, then drop the images whose residual is within the tolerance."""
        if len(self.active) == 0:
            return
        self.optimizer.zero_grad(set_to_none=True)
        # A sum: no image's step depends on how many others there are.
        self.objective.sum().backward()
        self.optimizer.step()
        unfinished = self.residuals[self.active] > (-1.0 if tolerance is None else tolerance)
        if not unfinished.all():
            self._select(unfinished)

    def _network(self) -> SkipNetwork:
        """Networks for the active images, their weights not yet set."""
        count, channels = len(self.active), self.images.shape[1]
        # PyTorch would draw weights from its global generator; ours are set by the caller.
        with torch.device("meta"):
            network = SkipNetwork(count, channels, inputs=INPUTS, **self.architecture)
        return network.to(self.images.dtype).to_empty(device=self.images.device)

    @torch.no_grad()
    def _initialize(self, layer: nn.Conv2d) -> None:
        """PyTorch's default for convolutions, but drawn by each image's own keys."""
        bound = layer.weight[0].numel() ** -0.5
        for values in (layer.weight, layer.bias):
            if values is not None:
                shape = len(values) // len(self.active), *values.shape[1:]
                numbers = self.keys.uniform(shape, self.generator)
                values.copy_(bound * (2 * numbers - 1).flatten(0, 1))

    @torch.no_grad()
    def _select(self, kept: Tensor) -> None:
        """Go on with the active images chosen by a bool mask."""
        count = len(self.active)
        self.active, self.keys, self.codes = self.active[kept], self.keys[kept], self.codes[kept]
        if len(self.active) == 0:
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


class GraphAdam:
    """Adam (Kingma and Ba 2015, Algorithm 1) on tensors that stay on the graph.

    PyTorch's own, with differentiable=True, divides zero by zero on the way back where a gradient
    is exactly zero, as that of a bias before a normalization is.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, tensors: Sequence[Tensor], rate: float) -> None:
        self.tensors, self.rate, self.count = list(tensors), rate, 0
        self._mean = [torch.zeros_like(tensor) for tensor in tensors]
        self._square = [torch.zeros_like(tensor) for tensor in tensors]

    def step(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """The tensors after one step down the gradients."""
        self.count += 1
        rate = self.rate / (1 - self.BETA1**self.count)
        whole = 1 - self.BETA2**self.count
        for index, grad in enumerate(grads):
            self._mean[index] = self._mean[index].lerp(grad, 1 - self.BETA1)
            square = self.BETA2 * self._square[index] + (1 - self.BETA2) * grad.square()
            self._square[index] = square
            positive = square > 0
            root = torch.where(positive, square, 1.0).sqrt()
            root = torch.where(positive, root, 0.0) / whole**0.5
            step = rate * self._mean[index] / (root + self.EPSILON)
            self.tensors[index] = self.tensors[index] - step
        return list(self.tensors)
