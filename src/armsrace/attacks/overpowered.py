"""The overpowered attack: two images of a decoder, close to each other, that a model reads apart.

Jalal, Ilyas, Daskalakis and Dimakis 2017, "The Robust Manifold Defense", and the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.asking import evaluating
from armsrace.attacks.latents import Decoder, LatentAdam, check_latents
from armsrace.attacks.pairs import Answers, Pairs, between, pair_starts
from armsrace.attacks.problem import gradient_of
from armsrace.contracts import UNIT, Bounds, Model, check_at_least, check_count

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

    Args:
        model: C, images to logits (M, K).
        decoder: G, latents (M, L) to images (M, C, H, W), differentiable; it is handed the two of
            the first pair, then of the second …, and what leaves `bounds` is clipped.
        starts: (N, 2, L), as from `pair_starts`; device and dtype follow it.
        epsilon: the greatest distance between the two, L2 in pixel units.
        steps: of ascent on the latents (Adam, its rate falling to zero) and on the multiplier.
        step_size: Adam's first rate, in the unit of the latents.
        multiplier_step: what the multiplier λ, at first 1 and never below 0, grows by at each step
            for each unit of distance beyond epsilon.
        penalty: the weight of ‖z₁‖ + ‖z₂‖, which keeps the latents where the decoder was trained.
        first: let a pair go at its first valid point, as the authors do. Otherwise all steps are
            taken, and of the valid points the one of the greatest cross-entropy is returned.
        bounds: the box of valid pixels.

    A point is valid where the two are read as two classes and the distance is within epsilon. A
    step costs a pass and a gradient for each image; a pair that is done leaves the batch, and no
    pair's result depends on another's. The authors' rates (1e-4 for both, YellowFin) need
    hundreds of steps for what Adam does in tens, so rates and optimizer are ours; the objective,
    λ's start and the penalty are theirs. Raises ValueError or TypeError naming the argument and
    the rule it breaks.

    >>> model, vae = zoo.load("softmax"), zoo.load("manifold-vae")
    >>> starts = attacks.pairs.pair_starts(8, latents=20)
    >>> found = attacks.overpowered(model, vae.decode, starts, epsilon=2.0, steps=100)
    >>> found.found.any(), (found.distances[found.found] <= 2).all()
    (tensor(True), tensor(True))
    """
    check_latents("starts", starts, "(N, 2, L)", 3)
    if starts.shape[1] != 2:
        raise ValueError(f"starts must have shape (N, 2, L), got {tuple(starts.shape)}")
    for name, value in (("epsilon", epsilon), ("multiplier_step", multiplier_step),
                        ("penalty", penalty)):  # fmt: skip
        check_at_least(name, value, 0)
    check_at_least("step_size", step_size, 1e-9)
    check_count("steps", steps)
    with evaluating(model, decoder), torch.inference_mode(False), torch.no_grad():
        answers = Answers(model, decoder, epsilon, bounds)
        adam = LatentAdam(starts.clone(), step_size, steps)
        latents, spent = _ascend(answers, adam, steps, multiplier_step, penalty, first)
        last = answers(latents)
    return Pairs(
        last.images, latents, last.valid, last.distances, last.losses, last.divergences,
        spent + 1, spent,
    )  # fmt: skip


def _ascend(
    answers: Answers, adam: LatentAdam, steps: int, multiplier_step: float, penalty: float,
    first: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The best valid latents (N, 2, L), the last where there are none, and the steps taken (N,)."""
    best = adam.latents.clone()
    greatest = torch.full_like(best[:, 0, 0], -torch.inf)
    spent = torch.zeros(len(best), dtype=torch.int64, device=best.device)
    left, multiplier = torch.arange(len(best), device=best.device), torch.ones_like(greatest)
    for _ in range(steps):
        latents = adam.latents.clone().requires_grad_()
        with torch.enable_grad():
            point = answers(latents)
            excess = point.distances - answers.epsilon
            norms = latents.norm(dim=2).sum(dim=1)
            objective = multiplier * excess + penalty * norms - point.losses
            slopes = gradient_of(objective.sum(), latents)
        spent[left] += 1
        better = point.valid & (point.losses > greatest[left])
        best[left[better]], greatest[left[better]] = latents[better], point.losses[better]
        multiplier = (multiplier + multiplier_step * excess).clamp_min(0)
        if first:
            kept = ~point.valid
            adam.keep(kept)
            left, multiplier, slopes = left[kept], multiplier[kept], slopes[kept]
        if len(left) == 0:
            break
        adam.step(slopes)
    never = greatest[left] == -torch.inf
    best[left[never]] = adam.latents[never]
    return best, spent
