"""Minimum norm: several classes, each approached, and a search from what that finds.

Our own composition. In L∞, L2 and L1 its parts are those of FAB (Croce and Hein 2020), DDN (Rony et
al. 2019) and FMN (Pintor et al. 2021), in L0 σ-zero (Cinà et al. 2025) and a local search that
exchanges pixels. What is new is how they are combined.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.base import (
    VALUES_PER_PASS,
    AttackContext,
    PerImage,
    PerImageAdam,
    attack_context,
)
from armsrace.attacks.minimal.fab import BETA, biased_step
from armsrace.attacks.sparse.sigma_zero import SparsestSuccess
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
FIRST_SIZE, SECOND_SIZE = 1.0, 0.6
"""In L0, η₀ of the approaches and of the search from the sparsest, in widths of the box."""
SIGMA, THRESHOLD, THRESHOLD_RATE = 1e-3, 0.3, 0.01
"""σ, τ₀ and t of σ-zero."""
DROPS, ADDS = 2, 4
"""Pixels whose removal a move of the local search tries, each with so many in their place."""
TENURE = 10
"""For so many moves a pixel that was taken out does not come back."""
PATIENCE = 12
"""The local search ends for an image that has become no sparser in so many moves."""


def minimum_norm(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    classes: int = 3,
    approach_steps: int | None = None,
    steps: int | None = None,
    final_steps: int | None = None,
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

    In L0 the stages are others:

    1. Approach: σ-zero toward each of the likeliest classes.
    2. Search: σ-zero without an aim, from the sparsest success of all classes.
    3. Exchange: take out the pixel that costs the least margin. While the image is no longer
       adversarial, replace one of two pixels by one of the four that promise most, or move one to
       an end of the box, whichever gives the greatest margin. A forward pass decides, and a pixel
       that was taken out stays out for ten moves.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "linf", "l2", "l1" or "l0", in which the perturbation is kept small. L0 counts a pixel
            once, with all its channels.
        classes: how many of the likeliest wrong classes are approached.
        approach_steps: toward each class; by default 20, in L0 90.
        steps: of the search, from each class or in L0 from the sparsest; by default 60, in L0 100.
        final_steps: of the last search, in L0 moves; by default 100, in L0 40.
        targets: (N,) int64 wanted classes; `classes` has no effect then.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The nearest success of all steps; the clean image where there is none.

    Cost:
        At most classes · (approach_steps + steps) + final_steps forward and as many backward
        passes, and classes + 3 forward passes more. A class whose approach ends 1.5 times as far as
        another's is not searched. In L0 at most classes · approach_steps + steps forward and
        backward passes, and at most 12 forward passes and one backward pass per move.

    References:
        Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
        attack"; Rony et al. 2019, "Decoupling direction and norm"; Pintor, Roli, Brendel and Biggio
        2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints"; Cinà,
        Villani, Pintor, Schönherr, Biggio and Pelillo 2025, "σ-zero: gradient-based optimization of
        ℓ0-norm adversarial examples".

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.minimum_norm(model, digits.images, digits.labels, norm="linf")
        >>> evaluation.median_distance(digits.images, found, "linf") < 0.1
        True
        >>> sparse = attacks.minimum_norm(model, digits.images, digits.labels, norm="l0")
        >>> evaluation.median_distance(digits.images, sparse, "l0") < 10
        True
    """
    check_choice("norm", norm, (*BUDGETED, "l0"))
    check_count("classes", classes)
    defaults = (90, 100, 40) if norm == "l0" else (20, 60, 100)
    approach_steps = defaults[0] if approach_steps is None else approach_steps
    steps = defaults[1] if steps is None else steps
    final_steps = defaults[2] if final_steps is None else final_steps
    check_count("approach_steps", approach_steps)
    check_count("steps", steps)
    check_count("final_steps", final_steps)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        logits = context.logits(context.images)
        gradients, searches = torch.zeros_like(labels), torch.zeros_like(labels)
        active = (~context.is_adversarial(logits)).nonzero()[:, 0]
        x_adv = context.images.clone()
        if norm == "l0" and len(active) > 0:
            part, aims = context.select(active), _likeliest(context, logits, classes)[active]
            sparse = _sparsest_approach(part, aims, approach_steps)
            _sigma_zero(part, sparse, steps, SECOND_SIZE)
            x_adv[active], moves, asked = _exchange(part, sparse, final_steps)
            gradients[active] = aims.shape[1] * approach_steps + steps + moves
            searches[active] = asked
        elif len(active) > 0:
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
        # A search also asks about its last iterate, without a gradient, and a move about others.
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


def _sparsest_approach(part: AttackContext, aims: Tensor, steps: int) -> SparsestSuccess:
    """σ-zero toward each class of aims (M, K), from the clean image; the sparsest success of all.

    The search goes on from there, or from the clean image where there is no success.
    """
    rows = torch.arange(len(aims), device=aims.device).repeat_interleave(aims.shape[1])
    problem = part.select(rows)
    state = SparsestSuccess(problem.images, THRESHOLD)
    _sigma_zero(problem, state, steps, FIRST_SIZE, aims.flatten())
    sparsest = state.best_distance.view_as(aims).argmin(dim=1)
    state.select(sparsest + aims.shape[1] * torch.arange(len(aims), device=aims.device))
    state.tau = torch.full_like(state.tau, THRESHOLD)
    state.x_adv = torch.where(batch_view(state.found), state.best_adv, part.images)
    return state


def _sigma_zero(
    problem: AttackContext,
    state: SparsestSuccess,
    steps: int,
    step_size: float,
    aims: Tensor | None = None,
) -> None:
    """Algorithm 1 of σ-zero from the state's images; aims (M,) are classes to go for.

    With an aim any wrong class is a success that counts, but the descent goes on to the one wanted.
    """
    x, width = problem.images, problem.bounds.width
    adam = PerImageAdam((state.x_adv - x) / width, step_size)
    aimed = problem if aims is None or problem.targets is not None else problem.aimed_at(aims)
    for i in range(steps):
        losses, g, is_adversarial = aimed.loss_grad_and_success(state.x_adv, margin)
        state.update_best(x, is_adversarial)
        reached = is_adversarial if aimed is problem else losses > 0
        cosine = (1 + math.cos(math.pi * i / steps)) / 2
        next_size = step_size * (0.1 + 0.9 * cosine)
        state.step(adam, problem, g, reached, SIGMA, next_size, THRESHOLD_RATE)


class _Exchange(PerImage):
    """Per image z (M, C, H, W), until which move each pixel stays out (M, H · W), and the stall."""

    def __init__(self, z: Tensor) -> None:
        self.z = z.clone()
        self.out_until = torch.zeros_like(z[:, 0].flatten(1), dtype=torch.int64)
        self.stalled = torch.zeros_like(self.out_until[:, 0])


def _exchange(
    part: AttackContext, sparse: SparsestSuccess, moves: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take pixels out of the sparsest successes, and exchange those that remain.

    Returns the sparsest images (M, C, H, W), the moves (M,), and the candidates asked about (M,).
    """
    best, size = sparse.best_adv.clone(), sparse.best_distance.clone()
    made, asked = torch.zeros_like(part.labels), torch.zeros_like(part.labels)
    # One pixel is the least that a clean image can need.
    active = (size.isfinite() & (size > 1)).nonzero()[:, 0]
    state, problem = _Exchange(best[active]), part.select(active)
    for move in range(moves):
        if len(active) == 0:
            break
        _, g, is_adversarial = problem.loss_grad_and_success(state.z, margin)
        candidates, removed, valid = _candidates(problem, state, g, move)
        losses, success = _ask(problem, candidates)
        made[active] += 1
        asked[active] += candidates.shape[1]
        # An adversarial image loses a pixel; another one exchanges pixels, unless one can go.
        shrinks = torch.arange(candidates.shape[1], device=g.device) < removed.shape[1]
        allowed = valid & ((shrinks == is_adversarial[:, None]) | (shrinks & success))
        score = losses.masked_fill(~allowed, -torch.inf)
        score = torch.where(
            (allowed & shrinks & success).any(dim=1, keepdim=True) & ~(shrinks & success),
            -torch.inf,
            score,
        )
        choice = score.argmax(dim=1, keepdim=True)
        row = torch.arange(len(active), device=g.device)
        state.z = candidates[row, choice[:, 0]]
        drops = removed.shape[1]
        place = torch.where(choice < drops, choice, (choice - drops) % drops)
        gone = removed.gather(1, place)
        moved = choice < candidates.shape[1] - 1
        until = torch.where(moved, move + 1 + TENURE, state.out_until.gather(1, gone))
        state.out_until.scatter_(1, gone, until)
        distance = distances(state.z - problem.images, "l0")
        sparser = success.gather(1, choice)[:, 0] & (distance < size[active])
        size[active] = torch.where(sparser, distance, size[active])
        best[active] = torch.where(batch_view(sparser), state.z, best[active])
        state.stalled = torch.where(sparser, 0, state.stalled + 1)
        going = (state.stalled < PATIENCE) & (size[active] > 1)
        state.select(going)
        active, problem = active[going], problem.select(going)
    return best, made, asked


def _candidates(
    problem: AttackContext, state: _Exchange, g: Tensor, move: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What a move may lead to (M, D + A · D + 1, C, H, W), for the gradient g of the margin.

    First z without each of D pixels, then those with one of A others each, and last z with one of
    its pixels at an end of the box. Also the D pixels (M, D), and which candidates are valid.
    """
    x, z, bounds = problem.images.flatten(2), state.z.flatten(2), problem.bounds
    g = g.flatten(2)
    end = torch.where(g > 0, bounds.upper, bounds.lower).to(z)
    changed = (z != x).any(dim=1)
    cost, gain = (g * (z - x)).sum(dim=1), (g * (end - z)).sum(dim=1)
    cheapest = cost.masked_fill(~changed, torch.inf).topk(min(DROPS, z.shape[2]), 1, largest=False)
    free = gain.masked_fill(changed | (state.out_until > move), -torch.inf)
    richest = free.topk(min(ADDS, z.shape[2]), dim=1)
    removed, added = cheapest.indices, richest.indices
    without = [_replaced(z, pixel, x) for pixel in removed.T]
    exchanged = [_replaced(part, pixel, end) for pixel in added.T for part in without]
    own = gain.masked_fill(~changed, -torch.inf).max(dim=1)
    candidates = torch.stack([*without, *exchanged, _replaced(z, own.indices, end)], dim=1)
    can_go, can_come = cheapest.values.isfinite(), richest.values.isfinite()
    both = (can_come[:, :, None] & can_go[:, None, :]).flatten(1)
    valid = torch.cat([can_go, both, own.values.isfinite()[:, None]], dim=1)
    return candidates.unflatten(-1, state.z.shape[2:]), removed, valid


def _replaced(images: Tensor, pixel: Tensor, source: Tensor) -> Tensor:
    """Images (M, C, H · W) with one pixel (M,) each, in all its channels, from the source."""
    index = pixel[:, None, None].expand(-1, images.shape[1], 1)
    return images.scatter(2, index, source.gather(2, index))


def _ask(problem: AttackContext, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """The margin and the success (M, K) of candidates (M, K, C, H, W)."""
    count, each = candidates.shape[:2]
    rows = torch.arange(count, device=candidates.device).repeat_interleave(each)
    at_once = max(1, VALUES_PER_PASS // candidates[0, 0].numel())
    answers = [
        problem.select(owners).loss(images, margin)
        for owners, images in zip(
            rows.split(at_once), candidates.flatten(0, 1).split(at_once), strict=True
        )
    ]
    losses, success = (torch.cat(parts).view(count, each) for parts in zip(*answers, strict=True))
    return losses, success
