"""Search on a decoder's range: the nearest image that it draws and the model reads otherwise.

Athalye, Carlini and Wagner 2018, §5.4.2 (Defense-GAN), and the authors' notebook.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.asking import evaluating
from armsrace.attacks.latents import Decoder, LatentAdam, check_latents, drawn
from armsrace.attacks.margins import margin
from armsrace.attacks.norms import column
from armsrace.attacks.problem import Problem, posed
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least, check_count

LARGEST = 1e6


def on_manifold(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    decoder: Decoder,
    encoder: Callable[[Tensor], Tensor],
    steps: int = 200,
    step_size: float = 0.05,
    confidence: float = 0.0,
    gamma: float = 0.05,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """min over z of ‖G(z) − x‖₂ where the model reads G(z) otherwise; the image returned is G(z).

    Args:
        model: images to logits (N, K): the classifier behind a projection onto the range of G,
            which returns an image of that range as it is, where its search succeeds.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        decoder: G, latents (M, L) to images (M, C, H, W), differentiable, row by row; what leaves
            `bounds` is clipped.
        encoder: images to the latents (N, L) at which their searches begin, such as those of a
            VAE's encoder or of an inversion; it is called once, and not differentiated.
        steps: of Adam, all taken; the rate falls to zero.
        step_size: Adam's first rate, in the unit of the latents.
        confidence: by how much another logit must win, for an image to count as found.
        gamma: the share by which the weight of the margin, at first 1, grows at each step that
            finds the image read as before, and shrinks at each other.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.

    The nearest success is returned. A step costs one pass and one gradient. The notebook weighs a
    cross-entropy by a constant; here the weight follows the answer, image by image, so that the
    search walks along the boundary to its nearest point. Raises ValueError or TypeError naming the
    argument and the rule it breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> vae = zoo.load("manifold-vae")
    >>> options = {"decoder": vae.decode, "encoder": lambda images: vae.encode(images)[0]}
    >>> found = attacks.on_manifold(model, digits.images, digits.labels, steps=50, **options)
    >>> found.success.any()
    tensor(True)
    """
    check_count("steps", steps)
    check_at_least("step_size", step_size, 1e-9)
    check_at_least("confidence", confidence, 0)
    check_at_least("gamma", gamma, 0)
    if gamma >= 1:
        raise ValueError(f"gamma must be < 1, got {gamma:g}")
    posing = posed(model, images, labels, targets, bounds)
    with posing as problem, evaluating(decoder, encoder), torch.no_grad():
        left = (~problem.fooled(problem.logits(problem.images))).nonzero()[:, 0]
        found, spent = problem.images.clone(), torch.zeros_like(problem.labels)
        if len(left) > 0:
            part = problem.subset(left)
            starts = encoder(part.images)
            check_latents("encoder's latents", starts, "(N, L)", 2)
            if len(starts) != len(left):
                raise ValueError(f"encoder must return {len(left)} latents, got {len(starts)}")
            adam = LatentAdam(starts, step_size, steps)
            found[left] = _nearest(part, decoder, adam, steps, confidence, gamma)
            spent[left] = steps
        return problem.finish_nearest(found, 1 + spent, spent)


def _nearest(
    problem: Problem, decoder: Decoder, adam: LatentAdam, steps: int, confidence: float,
    gamma: float,
) -> Tensor:  # fmt: skip
    nearest = problem.images
    shortest = torch.full_like(nearest[:, 0, 0, 0], torch.inf)
    weight = torch.ones_like(shortest)
    for _ in range(steps):
        latents = adam.latents.clone().requires_grad_()
        with torch.enable_grad():
            images = drawn(decoder, latents, problem.bounds)
        if images.shape != nearest.shape:
            raise ValueError(f"decoder must draw {tuple(nearest.shape)}, got {tuple(images.shape)}")
        rise, reached = problem.ascent(images, margin)
        change, short = images.detach() - problem.images, confidence - reached
        size = change.flatten(1).square().sum(dim=1)
        slopes = 2 * change - column(torch.where(short > 0, weight, 0.0)) * rise
        slopes = torch.autograd.grad(images, latents, slopes)[0]
        better = (short < 0) & (size < shortest)
        shortest = torch.where(better, size, shortest)
        nearest = torch.where(column(better), images.detach(), nearest)
        weight = (weight * torch.where(short < 0, 1 - gamma, 1 + gamma)).clamp_max(LARGEST)
        adam.step(slopes)
    return nearest
