"""The Carlini–Wagner attack in L∞ (Carlini and Wagner 2017, §VI-C)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import PerImage, attack_context, checked_grad
from armsrace.attacks.carlini_wagner.common import (
    Progress,
    Search,
    TanhAdam,
    check_options,
)
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least
from armsrace.norms import batch_view, distances


def carlini_wagner_linf(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    confidence: float = 0.0,
    steps: int = 1000,
    step_size: float = 0.01,
    initial_constant: float = 0.01,
    largest_constant: float = 20.0,
    decrease: float = 0.95,
    levels: int | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Minimize c · f(x′) + Σ (δᵢ − τ)⁺ with Adam, δᵢ the size of each change, for decreasing τ.

    Changes in the objective are in widths of the box, so that c has the same unit in any box.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead.
        steps: Adam steps for each τ and c, at most.
        step_size: of Adam, in units of w = atanh of the pixel.
        initial_constant: the first c, doubled where it does not make the image adversarial.
        largest_constant: no c above it is tried.
        decrease: the next τ is this fraction of the largest change that succeeded.
        levels: judge images rounded to this many pixel values, 256 for 8 bits, and return those.
        bounds: the box of valid pixels; τ starts at its width, and ends at a 256th of it.

    Returns:
        The nearest success of all steps, image by image; the clean image where none reaches κ.

    Differences from the paper:
        * Each image has its own τ, c and stopping time.
        * c starts at 0.01. The authors' code starts it at 1e-5, which takes more steps for the same
          distance, and uses steps of 0.005 where ours are 0.01.
        * τ becomes 0.95, not 0.9, of the largest change.
        * Descent stops when a twentieth of the steps lowered the loss by less than 5 %.
        * An image is finished when it is adversarial above its τ, since a larger c only increases
          the distance.

    Cost:
        One forward and one backward pass per step, only for unfinished images; one more of each at
        the start, and one forward pass at the end.

    References:
        Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", §VI-C: the
        penalty, and the warm start with unchanged c when τ decreases.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.carlini_wagner_linf(model, digits.images, digits.labels, steps=50)
        >>> evaluation.median_distance(digits.images, found, "linf") < 0.1
        True
    """
    check_options(confidence, steps, step_size, initial_constant, levels)
    check_at_least("largest_constant", largest_constant, initial_constant)
    if not 0 < decrease < 1:
        raise ValueError(f"decrease must be > 0 and < 1, got {decrease}")
    with attack_context(model, images, labels, targets, bounds) as context:
        search = Search(context, confidence)
        adam = TanhAdam(search.clean, bounds, step_size, levels)
        ceilings = _Ceilings(
            search.best_distance, bounds.width, decrease, initial_constant, largest_constant
        )
        progress = Progress(search.best_distance, steps, gain=0.05)
        while len(search.indices):
            with torch.enable_grad():
                w = adam.variable()
                x_adv = adam.x_adv(w)
                delta = (x_adv - search.clean).abs()
                above = (delta - batch_view(ceilings.tau)).clamp_min(0).flatten(1).sum(dim=1)
                above = above / bounds.width
                f = search.f(search.logits(x_adv))
                loss = above + ceilings.c * f
                adam.step(checked_grad(loss.sum(), w))
            is_adversarial = f == 0
            largest = distances(delta.detach(), "linf")
            search.update_best(x_adv, is_adversarial, largest)
            done = progress.should_stop(loss, is_adversarial, adam.counts)
            succeeded = is_adversarial & (largest <= ceilings.tau)
            if (done | succeeded).any():
                adam.restart(done | succeeded, x_adv.detach())
                failed = done & ~succeeded
                active = ceilings.tighten(succeeded, failed, largest, progress.recently_adversarial)
                for part in (search, adam, ceilings, progress):
                    part.select(active)
        return search.result()


class _Ceilings(PerImage):
    """τ and c (M,) of each image: τ falls after a success, c doubles after a failure (§VI-C)."""

    def __init__(
        self, like: Tensor, width: float, decrease: float, constant: float, largest: float
    ) -> None:
        self.tau, self.c = torch.full_like(like, width), torch.full_like(like, constant)
        self._smallest, self._decrease, self._largest = width / 256, decrease, largest

    def tighten(
        self, succeeded: Tensor, failed: Tensor, largest: Tensor, recently_adversarial: Tensor
    ) -> Tensor:
        """Lower τ below the largest change (M,) of successes, double c of failures.

        All (M,). Returns (M,) bool: keep searching. An image that failed while it was
        adversarial, above its τ, is finished: a larger c would not lower it.
        """
        self.tau = torch.where(succeeded, self._decrease * largest, self.tau)
        self.c = torch.where(failed, 2 * self.c, self.c)
        possible = (self.tau > self._smallest) & (self.c <= self._largest)
        return possible & ~(failed & recently_adversarial)
