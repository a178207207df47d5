"""Auto-PGD: projected gradient descent without a step size, in L∞, L2 and L1.

Croce and Hein 2020, Algorithm 1; in L1 Croce and Hein 2021, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context
from armsrace.attacks.gradient.pgd import random_perturbation
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_choice,
    check_count,
    check_epsilon,
)
from armsrace.losses import Loss, check_loss, cross_entropy
from armsrace.norms import (
    BUDGETED,
    batch_view,
    per_row,
    project,
    project_l1_box,
    steepest_direction,
)
from armsrace.randomness import default_generator, normal

ALPHA = 0.75
"""α: the weight of a step beside that of the step before it."""
RHO = 0.75
"""ρ: the fraction of the steps since the last checkpoint that must increase the loss."""
FIRST_SHARE_L1 = 0.2
"""The fraction of the entries that the first L1 step from the clean image itself changes."""
REDUCTION_L1 = 1.5
"""In L1, k is the number of changed entries divided by this; so is a step that is shortened."""


def auto_pgd(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    steps: int = 100,
    norm: Norm = "linf",
    random_start: bool = True,
    restarts: int = 1,
    target_classes: int | None = None,
    stop_on_success: bool = False,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """PGD with momentum that halves the step of an image where the loss no longer increases.

    There is no step size to choose. The first step is 2 · epsilon long; after a halving the search
    continues from the best point so far. In L1 it is ℓ₁-APGD: a step changes the k entries with the
    largest gradient, and k follows the sparsity of the best point so far.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`; a tensor (N,) gives each image its own.
        steps: gradient steps per restart. In L1 30 % of them are taken in a ball of 3 · epsilon,
            30 % in one of 2 · epsilon, and the others in that of epsilon.
        norm: "linf", "l2" or "l1".
        random_start: begin at a random point of the ball, not at the image.
        restarts: independent starts; an image keeps its first success, else its greatest loss.
        target_classes: targeted APGD. How many of the likeliest wrong classes are aimed at, one
            after another, with `restarts` starts each; any wrong class is a success. None aims at
            none.
        stop_on_success: an image is done at its first adversarial iterate; else all steps are
            taken, and the adversarial iterate of the greatest loss is returned.
        targets: (N,) int64 wanted classes; excludes `target_classes`.
        bounds: the box of valid pixels, kept after each step.
        loss: f, per image; `losses.dlr` and, with a target, `losses.targeted_dlr` are the paper's.
        generator: source of the random starts; a new one seeded 0 by default.

    Returns:
        The best iterates: an adversarial one before one that is not, then the greatest loss.

    Raises:
        ValueError: also for restarts without a random start, which would all be the same.

    Differences from the paper:
        * As in the authors' code, a step is halved where at most, not fewer than, three quarters of
          the steps increased the loss.
        * The start is drawn uniformly from the ball. In L1 it is normal noise, projected, as the
          authors have it.
        * In L1 a start at the clean image takes a fifth of the entries at first.

    Cost:
        One forward and one backward pass per step and per start, of which L1 has up to three. Later
        restarts and targets run only on images that are not yet adversarial. One forward pass at
        the end, and one to find the likeliest wrong classes.

    References:
        Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
        diverse parameter-free attacks", §3 and Algorithm 1; §4 (DLR). L1: Croce and Hein 2021,
        "Mind the box: ℓ₁-APGD for sparse adversarial attacks on image classifiers", Algorithm 1 and
        §3.3.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.auto_pgd(model, digits.images, digits.labels, epsilon=0.2, steps=20)
        >>> found.success.all(), found.gradients[0]
        (tensor(True), tensor(21))
    """
    check_epsilon(epsilon)
    check_count("steps", steps)
    check_count("restarts", restarts)
    check_choice("norm", norm, BUDGETED)
    check_loss(loss)
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without a random start, got {restarts}")
    if target_classes is not None:
        check_count("target_classes", target_classes)
        if targets is not None:
            raise ValueError("target_classes must be None with targets")
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds, epsilon) as context:
        problems: Sequence[AttackContext] = [context]
        queries, gradients = torch.zeros_like(context.labels), torch.zeros_like(context.labels)
        if target_classes is not None:
            problems = context.aimed_at_likeliest(target_classes)
            queries += 1
        x_adv, active = context.images.clone(), torch.ones_like(context.labels, dtype=torch.bool)
        best_f = torch.full_like(x_adv[:, 0, 0, 0], -torch.inf)
        for problem in [problem for problem in problems for _ in range(restarts)]:
            indices = active.nonzero()[:, 0]
            if len(indices) == 0:
                break
            part, x_0 = problem.select(indices), context.images[indices]
            if norm == "l1":
                if random_start:
                    x_0 = x_0 + bounds.width * normal(x_0, generator)
                found = annealed_l1(part, x_0, part.epsilon, steps, loss, stop_on_success)
            else:
                if random_start:
                    delta = random_perturbation(x_0, norm, part.epsilon, generator)
                    x_0 = part.within(x_0 + delta, norm)
                found = algorithm_1(part, x_0, part.epsilon, steps, norm, loss, stop_on_success)
            queries[indices] += found.passes
            gradients[indices] += found.passes
            better = found.is_adversarial | (found.f > best_f[indices])
            x_adv[indices[better]], best_f[indices[better]] = found.x_adv[better], found.f[better]
            active[indices] = ~found.is_adversarial
        return context.result(x_adv, queries, gradients)


def algorithm_1(
    context: AttackContext, x_0: Tensor, epsilon: float | Tensor, steps: int, norm: Norm,
    loss: Loss, stop_on_success: bool = False,
) -> Found:  # fmt: skip
    """The best iterates of `steps` steps from x_0 (N, C, H, W)."""
    search = (SearchL1 if norm == "l1" else Search)(context, x_0, epsilon, steps, norm, loss)
    found = Found(x_0.clone(), x_0.clone(), search.f.clone(), search.is_adversarial.clone(),
                  torch.ones_like(search.indices))  # fmt: skip
    for k in range(1, steps + 1):
        if stop_on_success and search.is_adversarial.any():
            found.put(search)
            search.select(~search.is_adversarial)
        if len(search.indices) == 0:
            break
        search.step(k)
        found.passes[search.indices] += 1
    found.put(search)
    return found


def annealed_l1(
    context: AttackContext, x_0: Tensor, epsilon: float | Tensor, steps: int, loss: Loss,
    stop_on_success: bool = False,
) -> Found:  # fmt: skip
    """ℓ₁-APGD with 3 ε, 2 ε and then ε, each from the projected x_max of the one before (§3.3)."""
    x, clean, bounds = x_0, context.images, context.bounds
    counts = [int(0.3 * steps), int(0.3 * steps)]
    passes = torch.zeros_like(context.labels)
    for factor, count in zip((3, 2, 1), (*counts, steps - sum(counts)), strict=True):
        if count == 0:
            continue
        x = bounds.clip(clean + project_l1_box(x - clean, factor * epsilon, clean, bounds))
        # Only in the last ball is a success within the budget.
        stop = stop_on_success and factor == 1
        found = algorithm_1(context, x, factor * epsilon, count, "l1", loss, stop)
        x, passes = found.x_max, passes + found.passes
    return replace(found, passes=passes)


@dataclass
class Found:
    """What a run found for each image: x_adv and x_max (N, C, H, W), the rest (N,).

    x_adv is the best iterate, f its loss; passes are gradients taken.
    """

    x_adv: Tensor
    x_max: Tensor
    f: Tensor
    is_adversarial: Tensor
    passes: Tensor

    def put(self, search: Search) -> None:
        """Take over the rows that the search still holds."""
        self.x_adv[search.indices], self.x_max[search.indices] = search.best_adv, search.x_max
        self.f[search.indices] = search.best_f
        self.is_adversarial[search.indices] = search.is_adversarial


class Search(PerImage):
    """Algorithm 1 in L∞ and L2, one row per image; η is the step size (M,)."""

    def __init__(
        self, context: AttackContext, x_0: Tensor, epsilon: float | Tensor, steps: int, norm: Norm,
        loss: Loss,
    ) -> None:  # fmt: skip
        self.context, self.epsilon, self.norm, self.loss = context, epsilon, norm, loss
        self.indices = torch.arange(len(x_0), device=x_0.device)
        self.w = self.checkpoints(steps)
        self.f, self.grad, is_adversarial = context.loss_grad_and_success(x_0, loss)
        self.x, self.x_previous, self.eta = x_0, x_0, self.first_eta(self.f)
        self.x_max, self.f_max, self.grad_max = x_0, self.f, self.grad
        # What is returned. It may differ from x_max, since an adversarial point is preferred.
        self.best_adv, self.best_f, self.is_adversarial = x_0, self.f, is_adversarial
        self.increases, self.last_checkpoint = torch.zeros_like(context.labels), 0
        self.f_max_then = self.f
        # "The step was halved at the last checkpoint": before the first, as the authors have it.
        self.halved = torch.ones_like(is_adversarial)

    def checkpoints(self, steps: int) -> set[int]:
        """W."""
        return checkpoints(steps)

    def first_eta(self, f: Tensor) -> Tensor:
        """η⁽⁰⁾ (M,)."""
        return torch.zeros_like(f) + 2 * per_row(self.epsilon)

    def projected(self, x: Tensor) -> Tensor:
        """P_S, onto the intersection of ball and box."""
        clean = self.context.images
        x = clean + project(x - clean, self.norm, self.epsilon)
        return self.context.within(x, self.norm, self.epsilon)

    def next_x(self, k: int) -> Tensor:
        """The next iterate (M, C, H, W), with momentum."""
        alpha = 1.0 if k == 1 else ALPHA
        direction = steepest_direction(self.grad, self.norm, self.x, self.context.bounds)
        z = self.projected(self.x + batch_view(self.eta) * direction)
        return self.projected(
            self.x + ((z - self.x) * alpha + (self.x - self.x_previous) * (1 - alpha))
        )

    def step(self, k: int) -> None:
        """One step, and at a checkpoint the choice of the next step size."""
        self.x, self.x_previous, f_previous = self.next_x(k), self.x, self.f
        self.f, self.grad, is_adversarial = self.context.loss_grad_and_success(self.x, self.loss)
        self.increases = self.increases + (self.f > f_previous)

        increased = self.f > self.f_max
        self.x_max = torch.where(batch_view(increased), self.x, self.x_max)
        self.grad_max = torch.where(batch_view(increased), self.grad, self.grad_max)
        self.f_max = torch.where(increased, self.f, self.f_max)
        better = (is_adversarial & ~self.is_adversarial) | (
            (is_adversarial == self.is_adversarial) & (self.f > self.best_f)
        )
        self.best_adv = torch.where(batch_view(better), self.x, self.best_adv)
        self.best_f = torch.where(better, self.f, self.best_f)
        self.is_adversarial = self.is_adversarial | is_adversarial
        if k in self.w:
            self.check(k)

    def check(self, k: int) -> None:
        """Halve η and return to x_max where condition 1 or 2 of §3 holds."""
        condition_1 = self.increases <= RHO * (k - self.last_checkpoint)
        condition_2 = ~self.halved & (self.f_max_then >= self.f_max)
        self.halved = condition_1 | condition_2
        self.eta = torch.where(self.halved, self.eta / 2, self.eta)
        self.return_to_max(self.halved)
        self.increases, self.last_checkpoint = torch.zeros_like(self.increases), k
        self.f_max_then = self.f_max

    def return_to_max(self, where: Tensor) -> None:
        """Continue from x_max where the mask (M,) is True."""
        self.x = torch.where(batch_view(where), self.x_max, self.x)
        self.grad = torch.where(batch_view(where), self.grad_max, self.grad)

    def select(self, active: Tensor) -> None:
        """Keep the rows chosen by a bool mask (M,)."""
        super().select(active)
        self.context = self.context.select(active)


class SearchL1(Search):
    """ℓ₁-APGD (Croce and Hein 2021, Algorithm 1): sparse steps, whose sparsity follows x_max."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # How many pixels and channels differ from the clean image; a start there has no sparsity.
        self.changed = self.changed_in(self.x_max)
        dimensions = self.x[0].numel()
        dense = self.changed == 0
        self.k = torch.where(dense, FIRST_SHARE_L1 * dimensions, self.changed / REDUCTION_L1)
        self.changed = torch.where(dense, dimensions, self.changed)

    def checkpoints(self, steps: int) -> set[int]:
        """M: every 4 % of the steps."""
        interval = max(int(0.04 * steps), 1)
        return set(range(interval, steps + 1, interval))

    def first_eta(self, f: Tensor) -> Tensor:
        """η_max."""
        return torch.zeros_like(f) + per_row(self.epsilon)

    def projected(self, x: Tensor) -> Tensor:
        """P_S, exactly."""
        clean, bounds = self.context.images, self.context.bounds
        x = clean + project_l1_box(x - clean, self.epsilon, clean, bounds)
        return self.context.within(x, self.norm, self.epsilon)

    def next_x(self, k: int) -> Tensor:
        """The same amount for each of the k entries with the largest gradient; no momentum."""
        size = self.grad.flatten(1).abs()
        count = self.k.ceil().long().clamp(1, size.shape[1])[:, None]
        smallest = size.sort(dim=1, descending=True).values.gather(1, count - 1)
        direction = torch.where(size >= smallest, self.grad.flatten(1).sign(), 0.0)
        direction = direction / direction.abs().sum(dim=1, keepdim=True).clamp_min(1)
        return self.projected(self.x + batch_view(self.eta) * direction.view_as(self.x))

    def check(self, k: int) -> None:
        """Where x_max has become sparser: from there, with the longest step. Else shorter steps."""
        changed = self.changed_in(self.x_max)
        sparser = changed < 0.95 * self.changed
        self.k, self.changed = changed / REDUCTION_L1, changed
        longest = self.first_eta(self.f)
        shorter = torch.maximum(self.eta / REDUCTION_L1, longest / 10)
        self.eta = torch.where(sparser, longest, shorter)
        self.return_to_max(sparser)

    def changed_in(self, x: Tensor) -> Tensor:
        """How many entries (M,) of x differ from the clean images, by more than rounding."""
        rounding = self.epsilon * torch.finfo(x.dtype).eps ** 0.75
        return ((x - self.context.images).abs() > rounding).flatten(1).sum(dim=1).to(x.dtype)


def checkpoints(steps: int) -> set[int]:
    """W: the steps k after which progress is checked (§3).

    The first interval is 22 % of the steps; each next one is shorter by 3 %, down to 6 %.
    """
    interval, minimum, decrease = (max(int(p * steps), 1) for p in (0.22, 0.06, 0.03))
    w, k = set(), 0
    while (k := k + interval) <= steps:
        w.add(k)
        interval = max(interval - decrease, minimum)
    return w
