"""Pairs of a decoder's images: where they start, how a model reads them, what was found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks.asking import evaluating
from armsrace.attacks.latents import Decoder, check_latents, drawn
from armsrace.attacks.randomness import default_generator
from armsrace.contracts import UNIT, Bounds, Model, check_count, check_logits


@dataclass(frozen=True)
class Pairs:
    """What the attack found, pair by pair.

    images: (N, 2, C, H, W), what the decoder draws of the latents. Of a pair without a valid
        point, the one where its ascent ended.
    latents: (N, 2, L).
    found: (N,) bool: read as two classes, and at most epsilon apart; decided by one last forward
        pass on exactly these images.
    distances: (N,), between the two of a pair, L2 in pixel units.
    losses: (N,), the cross-entropy of the second's answer against the first's, in nats.
    divergences: (N,), the same less the entropy of the first's answer: KL(first ‖ second), in nats.
    queries, gradients: (N,) int64, of one image of the pair; the other costs as many.
    """

    images: Tensor
    latents: Tensor
    found: Tensor
    distances: Tensor
    losses: Tensor
    divergences: Tensor
    queries: Tensor
    gradients: Tensor

    def __len__(self) -> int:
        return len(self.images)


def pair_starts(count: int, latents: int, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal starts (count, 2, L) for `overpowered`, in float32; a new seed 0 by default.

    The two of a pair are independent, as in the authors' code: they mostly begin as two classes,
    and are pulled together across the boundary.

    >>> attacks.pairs.pair_starts(8, latents=20).shape
    torch.Size([8, 2, 20])
    """
    check_count("count", count)
    check_count("latents", latents)
    generator = default_generator(generator)
    return torch.randn(count, 2, latents, generator=generator, device=generator.device)


@dataclass(frozen=True)
class Point:
    """Where n pairs stand: images (n, 2, C, H, W), the rest (n,)."""

    images: Tensor
    distances: Tensor
    losses: Tensor
    divergences: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Answers:
    """Draws and reads pairs of latents (n, 2, L)."""

    model: Model
    decoder: Decoder
    epsilon: float
    bounds: Bounds

    def __call__(self, latents: Tensor) -> Point:
        """The point of these latents; raises ValueError where decoder or model answer wrongly."""
        images = drawn(self.decoder, latents.flatten(0, 1), self.bounds)
        logits = self.model(images)
        check_logits(logits, len(images))
        logits, images = logits.unflatten(0, (-1, 2)), images.unflatten(0, (-1, 2))
        told, other = logits.log_softmax(dim=2).unbind(dim=1)
        losses = -(told.exp() * other).sum(dim=1)
        divergences = losses + (told.exp() * told).sum(dim=1)
        distances = (images[:, 0] - images[:, 1]).flatten(1).norm(dim=1)
        classes = logits.argmax(dim=2)
        valid = (classes[:, 0] != classes[:, 1]) & (distances <= self.epsilon)
        return Point(images, distances, losses, divergences, valid)


@torch.no_grad()
def between(
    model: Model, decoder: Decoder, latents: Tensor, points: int = 11, bounds: Bounds = UNIT
) -> Tensor:
    """The model's probabilities (N, points, K) on the line of latents between the two of a pair.

    latents: (N, 2, L). The first point is the first of the pair, the last the second; `points` is
    2 or more. How suddenly one answer turns into the other is how hard the boundary is (Jalal et
    al. 2017, §3.3). Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> model, vae = zoo.load("softmax"), zoo.load("manifold-vae")
    >>> attacks.pairs.between(model, vae.decode, torch.randn(8, 2, 20), points=5).shape
    torch.Size([8, 5, 10])
    """
    check_latents("latents", latents, "(N, 2, L)", 3)
    check_count("points", points, 2)
    with evaluating(model, decoder):
        share = torch.linspace(0, 1, points).to(latents)[:, None]
        line = torch.lerp(latents[:, :1], latents[:, 1:], share)
        logits = model(drawn(decoder, line.flatten(0, 1), bounds))
    check_logits(logits, line.shape[:2].numel())
    return logits.softmax(dim=1).unflatten(0, (-1, points))
