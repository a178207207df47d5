"""Minimum norm: several classes, each approached by FAB and searched on a shrinking ball.

Our own composition, in L∞, L2 and L1. Its parts are those of FAB (Croce and Hein 2020), DDN (Rony
et al. 2019) and FMN (Pintor et al. 2021); what is new is how they are combined.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context
from armsrace.attacks.minimal.fab import BETA, biased_step
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_choice,
    check_count,
)
from armsrace.losses import margin
from armsrace.norms import BUDGETED, batch_view, blocked_by_box, distances, normalize, project

FIRST_ALPHA, LAST_ALPHA = 1.0, 0.01
"""α: a step is this many radii long, at first and at last."""
FIRST_GAMMA, LAST_GAMMA = 0.05, 0.001
"""γ: the fraction by which a step changes the radius, at first and at last."""
PRUNE = 1.5
"""A class is given up when its approach ends this many times as far as that of another class."""


def minimum_norm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    classes: int = 3,
    approach_steps: int = 20,
    steps: int = 60,
    final_steps: int = 100,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """The nearest adversarial image over several wrong classes, in three stages.

    1. Approach: from the clean image, steps of targeted FAB toward each of the likeliest classes.
    2. Search: from each class's nearest success, steps along the gradient of the margin, projected
       onto a ball that is smaller than the nearest success. Its radius shrinks after a success and
       grows after a failure, and the steps are in proportion to it. Any wrong class counts.
    3. The search once more, from the nearest success of all classes.

    A search descends to the nearest local minimum, and which one that is depends on where it
    begins. Three classes with 80 steps each find nearer images than 1,000 steps of FMN or DDN.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "linf", "l2" or "l1", in which the perturbation is kept small.
        classes: how many of the likeliest wrong classes are approached.
        approach_steps: of FAB toward each class.
        steps: of the search from each class.
        final_steps: of the last search.
        targets: (N,) int64 wanted classes; `classes` has no effect then.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The nearest success of all steps; the clean image where there is none.

    Cost:
        At most classes · (approach_steps + steps) + final_steps forward and as many backward
        passes, and classes + 3 forward passes more. A class whose approach ends 1.5 times as far as
        another's is not searched.

    References:
        Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
        attack"; Rony et al. 2019, "Decoupling direction and norm"; Pintor, Roli, Brendel and Biggio
        2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints".

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.minimum_norm(model, digits.images, digits.labels, norm="linf")
        >>> evaluation.median_distance(digits.images, found, "linf") < 0.1
        True
    """
    check_choice("norm", norm, BUDGETED)
    check_count("classes", classes)
    check_count("approach_steps", approach_steps)
    check_count("steps", steps)
    check_count("final_steps", final_steps)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        logits = context.logits(context.images)
        gradients, searches = torch.zeros_like(labels), torch.zeros_like(labels)
        active = (~context.is_adversarial(logits)).nonzero()[:, 0]
        x_adv = context.images.clone()
        if len(active) > 0:
            # One row for each pair of an image and a class.
            aims = _likeliest(context, logits, classes)[active]
            rows = active.repeat_interleave(aims.shape[1])
            problem = context.select(rows)
            found = _approach(problem, aims.flatten(), norm, approach_steps)
            gradients.index_add_(0, rows, torch.full_like(rows, approach_steps))
            kept = _near(found.distance.view_as(aims)).flatten()
            found.select(kept)
            rows, problem = rows[kept], problem.select(kept)
            _search(problem, found, norm, steps)
            gradients.index_add_(0, rows, torch.full_like(rows, steps))
            searches.index_add_(0, rows, torch.ones_like(rows))
            # The nearest row of each image. Where no search has succeeded it is the first, kept.
            table = torch.full_like(kept, torch.inf, dtype=x_adv.dtype)
            table[kept] = found.distance
            place = (kept.cumsum(dim=0) - 1).view_as(aims)
            nearest = place.gather(1, table.view_as(aims).argmin(dim=1, keepdim=True))[:, 0]
            found.select(nearest)
            problem = problem.select(nearest)
            _search(problem, found, norm, final_steps)
            gradients[active] += final_steps
            searches[active] += 1
            x_adv[active] = found.best
        # A search also asks about its last iterate, without a gradient.
        return context.minimal_result(x_adv, 1 + gradients + searches, gradients)


def _likeliest(context: AttackContext, logits: Tensor, classes: int) -> Tensor:
    """The classes (N, M) to approach: the targets, or the likeliest wrong ones."""
    if context.targets is not None:
        return context.targets[:, None]
    wrong = logits.scatter(1, context.labels[:, None], -torch.inf)
    return wrong.topk(min(classes, logits.shape[1] - 1), dim=1).indices


def _near(distance: Tensor) -> Tensor:
    """(N, M) bool: the classes whose distance is not much above that of the nearest."""
    nearest = distance.amin(dim=1, keepdim=True)
    # Where no approach succeeded all distances are infinite: the first class is searched.
    near = (distance <= PRUNE * nearest) & distance.isfinite()
    near[:, 0] |= ~near.any(dim=1)
    return near


class _Found(PerImage):
    """Per row the image z (M, C, H, W), the nearest success so far, and its distance (M,)."""

    def __init__(self, x: Tensor) -> None:
        self.z, self.best = x.clone(), x.clone()
        self.distance = torch.full_like(x[:, 0, 0, 0], torch.inf)

    def update(self, x: Tensor, is_adversarial: Tensor, norm: Norm) -> None:
        """Keep z where it is adversarial (M,) and nearer to x than the best."""
        distance = distances(self.z - x, norm)
        nearer = is_adversarial & (distance < self.distance)
        self.distance = torch.where(nearer, distance, self.distance)
        self.best = torch.where(batch_view(nearer), self.z, self.best)


def _approach(problem: AttackContext, aims: Tensor, norm: Norm, steps: int) -> _Found:
    """FAB toward the boundary with the class aimed at (M,), one pass per step."""
    x, bounds = problem.images, problem.bounds
    found, aimed = _Found(x), problem.aimed_at(aims)
    for _ in range(steps):
        if problem.targets is None:
            f, w, is_adversarial = aimed.loss_grad_and_success(found.z, aimed.gap)
        else:
            f, w, is_adversarial = problem.loss_grad_and_success(found.z, margin)
        found.update(x, is_adversarial, norm)
        # FAB asks again after a step back toward x; here f is carried there by its gradient.
        z = torch.where(batch_view(is_adversarial), x + BETA * (found.z - x), found.z)
        f = f + (w * (z - found.z)).flatten(1).sum(dim=1)
        found.z = biased_step(z, x, f, w, norm, bounds)
    return found


def _search(problem: AttackContext, found: _Found, norm: Norm, steps: int) -> None:
    """Steps along the gradient of the margin on a ball that adapts, from the nearest success."""
    x, bounds = problem.images, problem.bounds
    success = found.distance.isfinite()
    found.z = torch.where(batch_view(success), found.best, found.z)
    epsilon = torch.where(success, found.distance, distances(found.z - x, norm))
    farthest = distances(torch.maximum(x - bounds.lower, bounds.upper - x), norm)
    for k in range(steps):
        _, g, is_adversarial = problem.loss_grad_and_success(found.z, margin)
        found.update(x, is_adversarial, norm)
        cosine = (1 + math.cos(math.pi * k / steps)) / 2
        alpha = LAST_ALPHA + (FIRST_ALPHA - LAST_ALPHA) * cosine
        gamma = LAST_GAMMA + (FIRST_GAMMA - LAST_GAMMA) * cosine
        epsilon = torch.where(is_adversarial, (1 - gamma) * epsilon, (1 + gamma) * epsilon)
        epsilon = torch.minimum(epsilon, found.distance * (1 - LAST_GAMMA / 10))
        epsilon = torch.minimum(epsilon, farthest)
        if norm == "linf":
            step = batch_view(alpha * epsilon) * g.sign()
        else:
            # In L1, too, the step is L2's: as long as the nearest success is far in L2.
            length = epsilon if norm == "l2" else distances(found.best - x, "l2")
            length = torch.where(length > 0, length, epsilon)
            g = torch.where(blocked_by_box(g, found.z, bounds), 0.0, g) if norm == "l1" else g
            step = batch_view(alpha * length) * normalize(g, "l2")
        delta = bounds.clip(found.z + step) - x
        found.z = bounds.clip(x + project(delta, norm, batch_view(epsilon)))
    _, is_adversarial = problem.loss(found.z, margin)
    found.update(x, is_adversarial, norm)
