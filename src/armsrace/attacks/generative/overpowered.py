"""The overpowered attack: two images of a decoder, close together, that a model classifies apart.

Jalal, Ilyas, Daskalakis and Dimakis 2017, "The Robust Manifold Defense", §3, and the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from armsrace.attacks.base import call_model, checked_grad
from armsrace.attacks.generative.decoder import LatentAdam, check_latents, decode
from armsrace.contracts import (
    UNIT,
    Bounds,
    Decoder,
    Model,
    check_at_least,
    check_count,
    check_logits,
)
from armsrace.models.layers import eval_mode
from armsrace.randomness import default_generator

__all__ = ["Pairs", "between", "overpowered", "pair_starts"]


def overpowered(
    model: Model,
    decoder: Decoder,
    starts: Tensor,
    *,
    epsilon: float,
    steps: int = 200,
    step_size: float = 0.1,
    multiplier_step: float = 0.3,
    penalty: float = 1e-4,
    first: bool = True,
    bounds: Bounds = UNIT,
) -> Pairs:
    """max over z₁, z₂ of CE(C(G(z₁)), C(G(z₂))) where ‖G(z₁) − G(z₂)‖₂ ≤ epsilon, for many pairs.

    A point is valid where the two images are classified differently and their distance is at most
    epsilon.

    Args:
        model: C, images to logits (M, K).
        decoder: G, latents (M, L) to images (M, C, H, W), differentiable. It is given the two of
            the first pair, then of the second, and so on; its images are clipped to `bounds`.
        starts: (N, 2, L), as from `pair_starts`; device and dtype follow it.
        epsilon: the largest distance between the two, L2 in pixel units.
        steps: steps on the latents (by Adam, its step size falling linearly to zero) and on the
            multiplier.
        step_size: Adam's first step size, in units of the latents.
        multiplier_step: how much the multiplier λ, at first 1 and never below 0, grows at each step
            per unit of distance beyond epsilon.
        penalty: the weight of ‖z₁‖ + ‖z₂‖, which keeps the latents where the decoder was trained.
        first: stop a pair at its first valid point, as the authors do. Otherwise all steps are
            taken, and of the valid points the one of the largest cross-entropy is returned.
        bounds: the box of valid pixels.

    Returns:
        The `Pairs`. No pair's result depends on another's.

    Differences from the paper:
        * Optimizer and step sizes are ours. The authors' (1e-4 for both, YellowFin) need hundreds
          of steps where Adam needs tens. The objective, λ's start and the penalty are theirs.

    Cost:
        One forward and one backward pass per step and image, only for pairs still under search.

    References:
        Jalal, Ilyas, Daskalakis and Dimakis 2017, "The Robust Manifold Defense: adversarial
        training using generative models", §3.

    Example:
        >>> model, vae = zoo.load("softmax"), zoo.load("manifold-vae")
        >>> starts = attacks.generative.overpowered.pair_starts(8, latents=20)
        >>> found = attacks.overpowered(model, vae.decode, starts, epsilon=2.0, steps=100)
        >>> found.found.any(), (found.distances[found.found] <= 2).all()
        (tensor(True), tensor(True))
    """
    check_latents("starts", starts, "(N, 2, L)", 3)
    if starts.shape[1] != 2:
        raise ValueError(f"starts must have shape (N, 2, L), got {tuple(starts.shape)}")
    check_at_least("epsilon", epsilon, 0)
    check_at_least("multiplier_step", multiplier_step, 0)
    check_at_least("penalty", penalty, 0)
    check_at_least("step_size", step_size, 1e-9)
    check_count("steps", steps)
    with eval_mode(model, decoder), torch.inference_mode(False), torch.no_grad():
        adam = LatentAdam(starts.clone(), step_size, steps)
        best = adam.x.clone()
        best_loss = torch.full_like(best[:, 0, 0], -torch.inf)
        gradients = torch.zeros(len(best), dtype=torch.int64, device=best.device)
        active = torch.arange(len(best), device=best.device)
        multiplier = torch.ones_like(best_loss)
        for _ in range(steps):
            with torch.enable_grad():
                z = adam.variable()
                point = _decoded(model, decoder, z, epsilon, bounds)
                excess = point.distances - epsilon
                norms = z.norm(dim=2).sum(dim=1)
                loss = multiplier * excess + penalty * norms - point.losses
                grad = checked_grad(loss.sum(), z)
            gradients[active] += 1
            better = point.valid & (point.losses > best_loss[active])
            best[active[better]] = z[better]
            best_loss[active[better]] = point.losses[better]
            multiplier = (multiplier + multiplier_step * excess).clamp_min(0)
            if first:
                searching = ~point.valid
                adam.select(searching)
                active, multiplier = active[searching], multiplier[searching]
                grad = grad[searching]
            if len(active) == 0:
                break
            adam.step(grad)
        # A pair without a valid point is returned as its ascent ended.
        never_valid = best_loss[active] == -torch.inf
        best[active[never_valid]] = adam.x[never_valid]
        last = _decoded(model, decoder, best, epsilon, bounds)
    return Pairs(
        last.images, best, last.valid, last.distances, last.losses, last.divergences,
        gradients + 1, gradients,
    )  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """What the attack found, per pair.

    images: (N, 2, C, H, W), what the decoder makes of the latents. Of a pair without a valid
        point, the one where its ascent ended.
    latents: (N, 2, L).
    found: (N,) bool: classified differently, and at most epsilon apart; decided by one last forward
        pass on exactly these images.
    distances: (N,), between the two of a pair, L2 in pixel units.
    losses: (N,), the cross-entropy of the second's prediction against the first's, in nats.
    divergences: (N,), the same less the entropy of the first's prediction: KL(first ‖ second), in
        nats.
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


@dataclass(frozen=True)
class _Point:
    """Pairs of images (n, 2, C, H, W), and (n,) each: distances, losses, divergences, valid."""

    images: Tensor
    distances: Tensor
    losses: Tensor
    divergences: Tensor
    valid: Tensor


def _decoded(
    model: Model, decoder: Decoder, latents: Tensor, epsilon: float, bounds: Bounds
) -> _Point:
    """Decode and classify pairs of latents (n, 2, L)."""
    images = decode(decoder, latents.flatten(0, 1), bounds)
    logits = call_model(model, images)
    check_logits(logits, len(images))
    logits, images = logits.unflatten(0, (-1, 2)), images.unflatten(0, (-1, 2))
    log_p, log_q = logits.log_softmax(dim=2).unbind(dim=1)
    losses = -(log_p.exp() * log_q).sum(dim=1)
    divergences = losses + (log_p.exp() * log_p).sum(dim=1)
    distances = (images[:, 0] - images[:, 1]).flatten(1).norm(dim=1)
    classes = logits.argmax(dim=2)
    valid = (classes[:, 0] != classes[:, 1]) & (distances <= epsilon)
    return _Point(images, distances, losses, divergences, valid)


def pair_starts(count: int, latents: int, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal starts (count, 2, L) for `overpowered`, in float32.

    The two of a pair are independent, as in the authors' code. They mostly begin as two classes,
    and are pulled together across the boundary.

    Args:
        count: pairs.
        latents: L, the dimensions of the latent space.
        generator: the source of the draws; a new one seeded 0 by default.

    Example:
        >>> attacks.generative.overpowered.pair_starts(8, latents=20).shape
        torch.Size([8, 2, 20])
    """
    check_count("count", count)
    check_count("latents", latents)
    generator = default_generator(generator)
    return torch.randn(
        count, 2, latents, generator=generator, device=generator.device, dtype=torch.float32
    )


@torch.no_grad()
def between(
    model: Model, decoder: Decoder, latents: Tensor, points: int = 11, bounds: Bounds = UNIT
) -> Tensor:
    """The model's probabilities on the line of latents between the two of a pair.

    How suddenly one prediction turns into the other shows how hard the boundary is.

    Args:
        model: images to logits (M, K).
        decoder: latents (M, L) to images (M, C, H, W).
        latents: (N, 2, L).
        points: 2 or more; the first is the first of the pair, the last the second.
        bounds: the box of valid pixels.

    Returns:
        (N, points, K).

    References:
        Jalal, Ilyas, Daskalakis and Dimakis 2017, §3.3.

    Example:
        >>> model, vae = zoo.load("softmax"), zoo.load("manifold-vae")
        >>> starts = attacks.generative.overpowered.pair_starts(8, latents=20)
        >>> attacks.generative.overpowered.between(model, vae.decode, starts, points=5).shape
        torch.Size([8, 5, 10])
    """
    check_latents("latents", latents, "(N, 2, L)", 3)
    check_count("points", points, 2)
    with eval_mode(model, decoder):
        fraction = torch.linspace(0, 1, points).to(latents)[:, None]
        line = torch.lerp(latents[:, :1], latents[:, 1:], fraction)
        logits = model(decode(decoder, line.flatten(0, 1), bounds))
    check_logits(logits, line.shape[:2].numel())
    return logits.softmax(dim=1).unflatten(0, (-1, points))
