"""The Carlini–Wagner attack in L0 (Carlini and Wagner 2017, §VI-B)."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.attacks.base import PerImage, attack_context, checked_grad
from armsrace.attacks.carlini_wagner.common import (
    Progress,
    Search,
    TanhAdam,
    check_options,
    with_values,
)
from armsrace.contracts import UNIT, AttackResult, Bounds, Model, check_at_least
from armsrace.losses import log_odds, margin
from armsrace.norms import batch_view, distances


def carlini_wagner_l0(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    confidence: float = 0.0,
    steps: int = 50,
    step_size: float = 0.02,
    initial_constant: float = 1.0,
    largest_constant: float = 1e3,
    drop: float = 0.3,
    levels: int | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Minimize in L2 until adversarial, freeze the pixels with the smallest g · δ, and repeat.

    g is the gradient of the log odds at the adversarial image, so −∇f in the paper's sign, and δ
    is the perturbation. g · δ, added over channels, is what a pixel contributes. A pixel counts
    once, with all its channels.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead.
        steps: Adam steps for each set of pixels and each c, at most.
        step_size: of Adam, in units of w = atanh of the pixel.
        initial_constant: the first c, which grows tenfold where it fails.
        largest_constant: no c above it is tried.
        drop: the fraction of the changed pixels that is frozen at a time.
        levels: judge images rounded to this many pixel values, 256 for 8 bits, and return those.
        bounds: the box of valid pixels.

    Returns:
        The success with the fewest pixels, image by image; the clean image where none reaches κ.

    Differences from the paper:
        * The paper freezes one pixel at a time, its code a few, ranked by the sum of its changes
          times the sum of its gradients. Here, if freezing a set fails, half of it is unfrozen; at
          the end not even one more pixel can be frozen.
        * The search continues from the last success and with its c. c grows tenfold from 1 to 1e3,
          in their code by doubling from 1e-3 to 2e6, and a set of pixels gets up to 50 steps of
          0.02 (theirs: 1,000 of 0.01).
        * g is that of the log odds: the margin's gradient jumps where the runner-up class changes,
          and with few free pixels Adam then stalls.
        * A change of less than 1/512 of the box, which 8 bits would lose, counts as no change.

    Cost:
        One forward and one backward pass per step, only for unfinished images; one more of each at
        the start, and one forward pass at the end.

    References:
        Carlini and Wagner 2017, "Towards evaluating the robustness of neural networks", §VI-B.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.carlini_wagner_l0(model, digits.images, digits.labels)
        >>> found.success.all(), evaluation.median_distance(digits.images, found, "l0") < 50
        (tensor(True), True)
    """
    check_options(confidence, steps, step_size, initial_constant, levels)
    check_at_least("largest_constant", largest_constant, initial_constant)
    if not 0 < drop < 1:
        raise ValueError(f"drop must be > 0 and < 1, got {drop}")
    min_change = bounds.width / 512
    with attack_context(model, images, labels, targets, bounds) as context:
        search = Search(context, confidence)
        adam = TanhAdam(search.clean, bounds, step_size, levels)
        sets = _PixelSets(search.clean, drop, initial_constant, largest_constant)
        progress = Progress(search.best_distance, steps, gain=None)
        while len(search.indices):
            with torch.enable_grad():
                w = adam.variable()
                x = torch.where(sets.free, adam.x_adv(w), search.clean)
                changed = (x - search.clean).abs().amax(dim=1, keepdim=True) >= min_change
                x_adv = with_values(x, torch.where(changed, x, search.clean))
                margins, g = search.loss_and_grad(x_adv.detach(), _smooth_margin)
                # f to first order at x_adv: its value and g, so the model is differentiated once.
                f = margins + (g * (x_adv - x_adv.detach())).flatten(1).sum(dim=1)
                l2 = ((x_adv - search.clean) / bounds.width).square().flatten(1).sum(dim=1)
                loss = l2 + sets.c * (search.required_margin - f).clamp_min(0)
                adam.step(checked_grad(loss.sum(), w))
            x_adv = x_adv.detach()
            delta = x_adv - search.clean
            is_adversarial = margins >= search.required_margin
            search.update_best(x_adv, is_adversarial, distances(delta, "l0"))
            failed = progress.should_stop(loss, is_adversarial, adam.counts) & ~is_adversarial
            if (is_adversarial | failed).any():
                shares = (g * delta).sum(dim=1)
                raised, active = sets.next_set(is_adversarial, failed, shares, delta)
                begin = torch.where(batch_view(is_adversarial | raised), x_adv, search.best_adv)
                adam.restart(is_adversarial | failed, begin)
                for part in (search, adam, sets, progress):
                    part.select(active)
        return search.result()


def _smooth_margin(logits: Tensor, classes: Tensor) -> Tensor:
    """The margin (N,), with the gradient of the log odds."""
    return with_values(log_odds(logits, classes), margin(logits, classes))


class _PixelSets(PerImage):
    """Which pixels (M, 1, H, W) of each image are free to move, and its constant c (M,)."""

    def __init__(self, clean: Tensor, drop: float, constant: float, largest: float) -> None:
        self.free = torch.ones_like(clean[:, :1], dtype=torch.bool)
        self.c = torch.full_like(clean[:, 0, 0, 0], constant)
        self._succeeded_c = self.c
        # What each pixel contributed to the last success; infinite where it took no part.
        self._shares = torch.full_like(clean[:, 0], torch.inf)
        count = clean.shape[2] * clean.shape[3]
        self._frozen = torch.full_like(self.c, count, dtype=torch.int64)
        self._drop, self._largest = drop, largest

    def next_set(
        self, succeeded: Tensor, failed: Tensor, shares: Tensor, delta: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Freeze pixels of successes; of failures raise c, or unfreeze half of the last frozen set.

        succeeded, failed: (M,) bool; shares (M, H, W): what each pixel contributes; delta: the
        perturbations (M, C, H, W). Returns (M,) bool, (M,) bool: has a greater c, and continues.
        """
        raised = failed & (10 * self.c <= self._largest)
        failed = failed & ~raised
        took_part = shares.masked_fill(~(delta != 0).any(dim=1), torch.inf)
        self._shares = torch.where(succeeded.view(-1, 1, 1), took_part, self._shares)
        self._succeeded_c = torch.where(succeeded, self.c, self._succeeded_c)
        c = torch.where(raised, 10 * self.c, self.c)
        self.c = torch.where(failed, self._succeeded_c, c)
        count = self._shares.isfinite().flatten(1).sum(dim=1)
        exhausted = (failed & ((self._frozen <= 1) | (count == 0))) | (succeeded & (count <= 1))
        most = torch.minimum(self._frozen, (self._drop * count).ceil().long())
        halved = torch.where(failed, self._frozen // 2, self._frozen)
        self._frozen = torch.where(succeeded, most, halved)
        # The rank of each pixel by what it contributes.
        ranks = self._shares.flatten(1).argsort(dim=1).argsort(dim=1).view_as(self._shares)
        kept = self._shares.isfinite() & (ranks >= self._frozen.view(-1, 1, 1))
        self.free = torch.where(batch_view(succeeded | failed), kept[:, None], self.free)
        return raised, ~exhausted
