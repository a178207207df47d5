"""Greedy explanation: the pixels that speak most for another class's explanation of the image.

Our own, against analysis by synthesis (Schott, Rauber, Bethge and Brendel 2019) and any classifier
by squared distances. With the explanations G_c held fixed, the lead of the label y over a class c,

    f_c ‖x − G_c‖² − f_y ‖x − G_y‖² + constant,

is a sum over pixels, so that the best k pixels to change are those with the k largest gains. The
explanations are then searched for again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.attacks.generative.decoder import explained
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_choice, check_count
from armsrace.norms import batch_view

ACROSS = 1e-4
"""How far beyond the threshold a pixel is moved, in widths of the box."""


def greedy_explanation(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    explain: Callable[[Tensor], Tensor],
    norm: Literal["l0", "l2"] = "l0",
    factors: Tensor | None = None,
    threshold: float | None = None,
    pixels: int = 2,
    steps: int = 40,
    restore: bool = True,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Change the pixels that gain most on the label's lead, ask again, and restore what may be.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        explain: images (N, C, H, W) to each class's reconstruction, (N, K, C, H, W): for analysis
            by synthesis `lambda x: model.explain(x).images`, for a nearest neighbor
            `model.nearest`. It is called at each step.
        norm: "l0" takes the pixels that gain most; "l2", for a model behind a threshold, those that
            gain most per squared distance to the threshold.
        factors: f (K,), the classes' factors; 1 by default.
        threshold: the gray level at which the model makes each pixel black or white; a pixel then
            moves just across it. By default pixels move to an end of the box. `explain` gets the
            images before they are made black and white.
        pixels: how many change at each step.
        steps: at most so many.
        restore: then try each changed pixel at its clean value, from the first that was changed.
        targets: (N,) int64 wanted classes; by default the likeliest other one at each step.
        bounds: the box of valid pixels.

    Returns:
        The adversarial images found; the clean image where there is none. No pixel changes twice.

    Cost:
        At most 1 + steps forward passes and searches for explanations per image, and with `restore`
        one forward pass more for each changed pixel; no backward pass.

    References:
        Schott, Rauber, Bethge and Brendel 2019, "Towards the first adversarially robust neural
        network model on MNIST", for the models.

    Example:
        >>> digits = datasets.load("mnist").take(200)
        >>> model = defenses.NearestNeighbor(digits.images, digits.labels)
        >>> known = (digits.images[:8], digits.labels[:8])
        >>> attacks.greedy_explanation(model, *known, explain=model.nearest).success.all()
        tensor(True)
    """
    check_choice("norm", norm, ("l0", "l2"))
    check_count("pixels", pixels)
    check_count("steps", steps)
    if norm == "l2" and threshold is None:
        raise ValueError("threshold must be given in L2: without one, use a gradient attack")
    if threshold is not None and not bounds.lower < threshold < bounds.upper:
        raise ValueError(f"threshold must lie inside the box, got {threshold:g}")
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        x_adv, queries = context.images.clone(), torch.ones_like(context.labels)
        logits = context.logits(x_adv)
        classes = logits.shape[1]
        if factors is not None and factors.shape != (classes,):
            raise ValueError(f"factors must have shape ({classes},), got {tuple(factors.shape)}")
        f = torch.ones(classes) if factors is None else factors
        f = f.to(x_adv)
        # When each pixel was changed; 0 where it was not.
        changed_at = torch.zeros_like(context.labels[:, None]).repeat(1, x_adv[0, 0].numel())
        active = (~context.is_adversarial(logits)).nonzero()[:, 0]
        logits = logits[active]
        for step in range(1, steps + 1):
            if len(active) == 0:
                break
            part, rows = context.select(active), torch.arange(len(active), device=active.device)
            rivals = part.targets
            if rivals is None:
                rivals = logits.scatter(1, part.labels[:, None], -torch.inf).argmax(dim=1)
            drawn = explained(explain, x_adv[active], logits.shape, images.dtype)
            moved, gain = _moves(
                x_adv[active], (drawn[rows, part.labels], f[part.labels]),
                (drawn[rows, rivals], f[rivals]), threshold, bounds,
            )  # fmt: skip
            gain = gain.flatten(1).masked_fill(changed_at[active] > 0, -torch.inf)
            worth = gain
            if norm == "l2":
                price = (moved - part.images).square().sum(dim=1).flatten(1)
                worth = torch.where(gain > 0, gain / price, -torch.inf)
            best = worth.topk(min(pixels, worth.shape[1]), dim=1)
            chosen = torch.zeros_like(gain, dtype=torch.bool).scatter(1, best.indices, True)
            chosen &= gain > 0
            shape = (len(active), 1, *x_adv.shape[2:])
            x_adv[active] = torch.where(chosen.view(shape), moved, x_adv[active])
            changed_at[active] = torch.where(chosen, step, changed_at[active])
            logits = part.logits(x_adv[active])
            queries[active] += 1
            # Without a pixel that gains, the next step would be the same.
            going = ~part.is_adversarial(logits) & chosen.any(dim=1)
            active, logits = active[going], logits[going]
        if restore:
            found = context.is_adversarial(context.logits(x_adv)).nonzero()[:, 0]
            part = context.select(found)
            x_adv[found], more = _restored(part, x_adv[found], changed_at[found])
            queries[found] += more
        return context.minimal_result(x_adv, queries + int(restore), torch.zeros_like(queries))


def _moves(
    x: Tensor, own: tuple[Tensor, Tensor], rival: tuple[Tensor, Tensor], threshold: float | None,
    bounds: Bounds,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Where each pixel would move (M, C, H, W), and what the rival would gain by it (M, H, W).

    own, rival: a reconstruction (M, C, H, W) and its class's factor (M,).
    """
    (own_image, own_factor), (rival_image, rival_factor) = own, rival

    def gain(before: Tensor, after: Tensor) -> Tensor:
        """f_y (|v − G_y|² − |x − G_y|²) − f_c (|v − G_c|² − |x − G_c|²), value by value."""
        label = (after - own_image).square() - (before - own_image).square()
        other = (after - rival_image).square() - (before - rival_image).square()
        return batch_view(own_factor) * label - batch_view(rival_factor) * other

    upper, lower = torch.full_like(x, bounds.upper), torch.full_like(x, bounds.lower)
    if threshold is None:
        up, down = gain(x, upper), gain(x, lower)
        return torch.where(up > down, upper, lower), torch.maximum(up, down).sum(dim=1)
    white = x > threshold
    seen, other_side = torch.where(white, upper, lower), torch.where(white, lower, upper)
    # At the threshold itself a pixel is black.
    across = torch.full_like(x, threshold)
    moved = torch.where(white, across, across + ACROSS * bounds.width)
    return bounds.clip(moved), gain(seen, other_side).sum(dim=1)


def _restored(context: AttackContext, x_adv: Tensor, changed_at: Tensor) -> tuple[Tensor, Tensor]:
    """Images in which each changed pixel was tried at its clean value, and the queries (M,)."""
    x_adv, queries = x_adv.clone(), torch.zeros_like(context.labels)
    count = (changed_at > 0).sum(dim=1)
    order = changed_at.masked_fill(changed_at == 0, 2**31).argsort(dim=1, stable=True)
    for index in range(int(count.max()) if len(count) else 0):
        active = (count > index).nonzero()[:, 0]
        part = context.select(active)
        pixel = torch.zeros_like(changed_at[active], dtype=torch.bool)
        pixel = pixel.scatter(1, order[active, index : index + 1], True)
        pixel = pixel.view(len(active), 1, *x_adv.shape[2:])
        trial = torch.where(pixel, part.images, x_adv[active])
        is_adversarial = part.is_adversarial(part.logits(trial))
        x_adv[active] = torch.where(batch_view(is_adversarial), trial, x_adv[active])
        queries[active] += 1
    return x_adv, queries
