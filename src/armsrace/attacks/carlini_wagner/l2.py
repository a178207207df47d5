"""The Carlini–Wagner attack in L2 (Carlini and Wagner 2017, §V and §VI-A)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import attack_context, check_start, checked_grad
from armsrace.attacks.carlini_wagner.common import (
    ConstantSearch,
    Progress,
    Search,
    TanhAdam,
    check_options,
)
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_count
from armsrace.norms import batch_view


def carlini_wagner_l2(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    confidence: float = 0.0,
    binary_search_steps: int = 9,
    steps: int = 1000,
    step_size: float = 0.01,
    initial_constant: float = 1e-3,
    abort_early: bool = True,
    levels: int | None = None,
    start: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Minimize ‖x′ − x‖₂² + c · f(x′) with Adam, and search for the smallest c that succeeds.

    f(x′) = max(max_{i≠t} Z(x′)_i − Z(x′)_t + κ, 0), with Z the logits, t the target and κ the
    confidence. That is the paper's f plus κ, so that f is 0 exactly where the attack succeeds.
    Without targets, the true class takes the place of the best other class, and the best wrong
    class that of t (`common.Search.f`).

    Distances in the objective are in widths of the box, so that c has the paper's unit in any box.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead. Images for a larger κ transfer better.
        binary_search_steps: how many constants c are tried per image.
        steps: Adam steps for each c, at most.
        step_size: of Adam, in units of w = atanh of the pixel.
        initial_constant: the first c, multiplied by ten until one succeeds.
        abort_early: stop a c when a twentieth of the steps lowered the loss by less than 1 %, and
            the first c that succeeds at once (not with `start`).
        levels: judge images rounded to this many pixel values, 256 for 8 bits, and return those.
        start: (N, C, H, W), where the search begins; at the image itself by default.
        bounds: the box of valid pixels.

    Returns:
        The nearest success of all steps, image by image; the clean image where none reaches κ.

    Differences from the paper:
        * A new c continues from the best image found, or from where the last c failed, not from
          the clean image.
        * Whether c succeeds is decided by its last steps, and a success must exceed the rounding
          error of the logits.
        * Each image has its own c, progress and stopping time. The authors' `abort_early` looks at
          the loss of the whole batch, and a result then depends on its neighbors.
        * 1,000 steps for the authors' 10,000; the ends of the box are at tanh(w) = ±0.99, theirs at
          ±0.999999; no random starting points.
        * With `levels`, gradients are straight-through at the rounded image; the paper rounds
          afterward and searches the lattice greedily.

    Cost:
        One forward and one backward pass per step, only for unfinished images; one more of each at
        the start, and one forward pass at the end.

    References:
        Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", §V-A and
        §VI-A (f), §V-B (tanh).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.carlini_wagner_l2(model, digits.images, digits.labels, steps=50)
        >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    check_options(confidence, steps, step_size, initial_constant, levels)
    check_count("binary_search_steps", binary_search_steps)
    with attack_context(model, images, labels, targets, bounds) as context:
        if start is not None:
            check_start(start, images, bounds)
        search = Search(context, confidence)
        x_start = context.images if start is None else start.to(context.images)
        adam = TanhAdam(x_start[search.indices], bounds, step_size, levels)
        constant = ConstantSearch(search.best_distance, initial_constant, binary_search_steps)
        progress = Progress(search.best_distance, steps, gain=0.01 if abort_early else None)
        stop_on_first = abort_early and start is None
        # The paper has a loop over c around a loop of Adam. Here one pass is one Adam step of every
        # image; an image whose c is done gets its next c.
        while len(search.indices):
            with torch.enable_grad():
                w = adam.variable()
                x_adv = adam.x_adv(w)
                l2 = ((x_adv - search.clean) / bounds.width).square().flatten(1).sum(dim=1)
                f = search.f(search.logits(x_adv))
                loss = l2 + constant.c * f
                adam.step(checked_grad(loss.sum(), w))
            is_adversarial = f == 0  # f is the paper's plus κ.
            search.update_best(x_adv, is_adversarial, l2)
            done = progress.should_stop(loss, is_adversarial, adam.counts)
            if stop_on_first:
                done |= is_adversarial & constant.no_success_yet
            if done.any():
                found = batch_view(search.best_distance.isfinite())
                adam.restart(done, torch.where(found, search.best_adv, x_adv.detach()))
                active = constant.next_constant(done, progress.recently_adversarial)
                for part in (search, adam, constant, progress):
                    part.select(active)
        return search.result()
