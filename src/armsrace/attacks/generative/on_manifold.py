"""On-manifold attack: the nearest image of a decoder's range that the model misclassifies.

Athalye, Carlini and Wagner 2018, §5.4.2 (against Defense-GAN), and the authors' notebook.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.attacks.generative.decoder import LatentAdam, check_latents, decode
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Decoder,
    Model,
    check_at_least,
    check_count,
)
from armsrace.losses import margin
from armsrace.models.layers import eval_mode
from armsrace.norms import batch_view

MAX_WEIGHT = 1e6  # of the margin: without a limit c overflows where no image is adversarial


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
    """The nearest adversarial image G(z) in L2, by Adam on ‖G(z) − x‖₂² + c · f₆(G(z)) over z.

    The distance in the objective is in widths of the box.

    Args:
        model: images to logits (N, K): the classifier behind a projection onto the range of G. The
            projection returns an image of that range unchanged, where its own search succeeds.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        decoder: G, latents (M, L) to images (M, C, H, W), differentiable, row by row; its images
            are clipped to `bounds`.
        encoder: images to the latents (N, L) where their searches begin, such as those of a VAE's
            encoder or of an inversion. It is called once, and not differentiated.
        steps: Adam steps; all are taken, and the step size falls linearly to zero.
        step_size: Adam's first step size, in units of the latents.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead.
        gamma: by what fraction c, at first 1, grows at each step whose image is not adversarial,
            and shrinks at each whose image is.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.

    Returns:
        The nearest success of all steps, per image; the clean image where none reaches κ.

    Differences from the paper:
        * The notebook weights a cross-entropy by a constant. Here c follows the model's answer,
          per image, so that the search walks along the boundary to its nearest point.

    Cost:
        One forward and one backward pass per step, of the model and of the decoder.

    References:
        Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false sense of security",
        §5.4.2.

    Example:
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
    checked = attack_context(model, images, labels, targets, bounds)
    with checked as context, eval_mode(decoder, encoder), torch.no_grad():
        active = (~context.is_adversarial(context.logits(context.images))).nonzero()[:, 0]
        x_adv, gradients = context.images.clone(), torch.zeros_like(context.labels)
        if len(active) > 0:
            part = context.select(active)
            starts = encoder(part.images.to(images.dtype))
            check_latents("encoder's latents", starts, "(N, L)", 2)
            if len(starts) != len(active):
                raise ValueError(f"encoder must return {len(active)} latents, got {len(starts)}")
            working = torch.promote_types(starts.dtype, torch.float32)
            adam = LatentAdam(starts.to(working), step_size, steps)

            def decoded(z: Tensor) -> Tensor:
                return decode(decoder, z.to(starts.dtype), bounds).to(part.images.dtype)

            x_adv[active] = _descend(part, decoded, adam, steps, confidence, gamma)
            gradients[active] = steps
        return context.minimal_result(x_adv, 1 + gradients, gradients)


def _descend(
    context: AttackContext, decoder: Decoder, adam: LatentAdam, steps: int, confidence: float,
    gamma: float,
) -> Tensor:  # fmt: skip
    """The nearest adversarial images (M, C, H, W) on the way down; the clean ones if none."""
    best_adv = context.images
    best_l2 = torch.full_like(best_adv[:, 0, 0, 0], torch.inf)
    c, width = torch.ones_like(best_l2), context.bounds.width
    for _ in range(steps):
        z = adam.variable()
        with torch.enable_grad():
            decoded = decoder(z)
        if decoded.shape != best_adv.shape:
            wanted = tuple(best_adv.shape)
            raise ValueError(f"decoder must return shape {wanted}, got {tuple(decoded.shape)}")
        # The gradient of l2 + c · max(κ − margin, 0), first in the image, then in the latents:
        # so a model that does not depend on the image is noticed.
        margins, margin_grad = context.loss_and_grad(decoded, margin)
        x_adv = decoded.detach()
        delta = x_adv - context.images
        l2 = (delta / width).flatten(1).square().sum(dim=1)
        active_c = torch.where(margins < confidence, c, 0.0)
        grad = 2 * delta / width**2 - batch_view(active_c) * margin_grad
        adam.step(torch.autograd.grad(decoded, z, grad)[0])
        is_adversarial = margins > confidence
        nearer = is_adversarial & (l2 < best_l2)
        best_l2 = torch.where(nearer, l2, best_l2)
        best_adv = torch.where(batch_view(nearer), x_adv, best_adv)
        c = torch.where(is_adversarial, (1 - gamma) * c, (1 + gamma) * c).clamp_max(MAX_WEIGHT)
    return best_adv
