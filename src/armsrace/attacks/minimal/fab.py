"""FAB: steps to the linearized boundary, biased toward the clean image, in L∞, L2 and L1.

Croce and Hein 2020, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from armsrace.attacks.base import AimedContext, AttackContext, attack_context
from armsrace.attacks.gradient.pgd import random_perturbation
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.losses import margin
from armsrace.norms import BUDGETED, batch_view, distances
from armsrace.randomness import default_generator

ALPHA_MAX = 0.1
"""α_max: the largest weight of the clean image's own projection in a step."""
ETA = 1.05
"""η: a step goes this many times as far as the boundary."""
BETA = 0.9
"""β: after a success the search goes back to this fraction of the way from the clean image."""
FINAL_STEPS = 3
"""Steps of the final search along the line to the clean image (§3.3)."""
BEYOND = 0.01
"""A final step goes beyond the root of the secant by this fraction of what is left."""


def fab(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    steps: int = 100,
    restarts: int = 1,
    target_classes: int | None = None,
    candidates: int = 10,
    epsilon: float | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Projections onto the nearest boundary of the linearized model, pulled to the clean image.

    At each step the boundary π with the nearest class is linearized at x⁽ⁱ⁾. Both x⁽ⁱ⁾ and the
    clean image are projected onto π within the box, and the next iterate is a mean of the two. So
    the search stays on the boundary and moves along it toward the clean image.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "linf", "l2" or "l1", in which the perturbation is kept small.
        steps: linearizations per run.
        restarts: runs. The first starts at the image, the others at a random point not farther
            away than half the nearest success so far.
        target_classes: targeted FAB. How many of the likeliest wrong classes are aimed at, one
            after another, with `restarts` runs each. A step then takes one backward pass.
            Any wrong class is still a success. By default each step linearizes the boundaries of
            all candidates.
        candidates: how many of the likeliest classes a step linearizes, the label included; it has
            no effect with targets or `target_classes`.
        epsilon: an image is done at its first success within this distance, in pixel units of
            `norm`; None searches on for the nearest. It also bounds the distance of the starts.
        targets: (N,) int64 wanted classes; excludes `target_classes`.
        bounds: the box of valid pixels, kept after each step.
        generator: source of the random starts; a new one seeded 0 by default.

    Returns:
        The nearest success of all runs; the clean image where there is none.

    Differences from the paper:
        * In the paper all classes are candidates, and targeted FAB is for data sets with many.
        * With `targets` the boundary is that between the target and the best other class, and only
          the target is a success.
        * The final search runs once, from the nearest success of all runs.
        * Its steps end 1 % beyond the root of the secant. On the boundary itself rounding would
          decide what is a success.
        * The random starts are uniform in the ball.

    Cost:
        Per step two forward passes, and `candidates` backward passes, at most K, or one if there is
        a target. Five forward passes at the end where something was found, and two others.

    References:
        Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
        attack", Algorithm 1, §3.3 (final search); Croce and Hein 2020, "Reliable evaluation of
        adversarial robustness", §5 (targeted FAB).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.fab(model, digits.images, digits.labels, norm="l2", steps=20)
        >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    check_choice("norm", norm, BUDGETED)
    check_count("steps", steps)
    check_count("restarts", restarts)
    check_count("candidates", candidates, 2)
    if epsilon is not None:
        check_at_least("epsilon", epsilon, 0)
    if target_classes is not None:
        check_count("target_classes", target_classes)
        if targets is not None:
            raise ValueError("target_classes must be None with targets")
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        best = Nearest(context, norm, epsilon)
        problems: Sequence[AttackContext] = [context]
        if target_classes is not None:
            problems = context.aimed_at_likeliest(target_classes)
            best.queries += 1
        for problem in problems:
            for restart in range(restarts):
                start = best.random_start(generator) if restart else context.images
                _algorithm_1(problem, start, steps, candidates, best)
        _final_search(best)
        return context.minimal_result(best.images, best.queries, best.gradients)


class Nearest:
    """The nearest adversarial images so far, their distances, and the passes spent.

    An image that is misclassified at the start, or has come within epsilon, is no longer active.
    """

    def __init__(self, context: AttackContext, norm: Norm, epsilon: float | None) -> None:
        self.context, self.norm = context, norm
        self.epsilon = torch.inf if epsilon is None else epsilon
        self.images, self.queries = context.images.clone(), torch.ones_like(context.labels)
        self.gradients = torch.zeros_like(context.labels)
        self.active = ~context.is_adversarial(context.logits(context.images))
        self.distances = torch.where(self.active, torch.inf, 0.0).to(self.images.dtype)

    def judge(self, indices: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The margin (M,) by which images are adversarial, and whether that is more than rounding.

        Nearer to the boundary the verdict would depend on the batch, and a success might be lost.
        """
        f = self.context.select(indices).adversarial_loss(logits, margin)
        return f, f > torch.finfo(logits.dtype).eps ** 0.75 * logits.abs().amax(dim=1)

    def update(self, indices: Tensor, images: Tensor) -> None:
        """Keep adversarial images (M, C, H, W), at these indices of the batch, where nearer."""
        found = distances(images - self.context.images[indices], self.norm)
        nearer = found < self.distances[indices]
        self.images[indices[nearer]] = images[nearer]
        self.distances[indices[nearer]] = found[nearer]
        if self.epsilon < torch.inf:
            self.active[indices[found <= self.epsilon]] = False

    def random_start(self, generator: torch.Generator) -> Tensor:
        """Points (N, C, H, W) within half of epsilon and of the nearest success."""
        x, bounds = self.context.images, self.context.bounds
        farthest = distances(torch.maximum(x - bounds.lower, bounds.upper - x), self.norm)
        radius = torch.minimum(farthest, self.distances).clamp_max(self.epsilon) / 2
        direction = random_perturbation(x, self.norm, 1.0, generator)
        return bounds.clip(x + batch_view(radius) * direction)


def _algorithm_1(
    context: AttackContext, start: Tensor, steps: int, candidates: int, best: Nearest
) -> None:
    """One run from start (N, C, H, W); what it finds goes to `best`."""
    norm, bounds = best.norm, context.bounds
    indices = best.active.nonzero()[:, 0]
    x = start[indices]
    for _ in range(steps):
        if len(indices) == 0:
            return
        part = context.select(indices)
        x_orig = part.images
        f, w, passes = _nearest_boundary(part, x, norm, candidates)
        x = biased_step(x, x_orig, f, w, norm, bounds)
        logits = part.logits(x)
        is_adversarial, clearly = part.is_adversarial(logits), best.judge(indices, logits)[1]
        best.queries[indices] += 2
        best.gradients[indices] += passes
        best.update(indices[clearly], x[clearly])
        x = torch.where(batch_view(is_adversarial), x_orig + BETA * (x - x_orig), x)
        active = best.active[indices]
        if not active.all():
            x, indices = x[active], indices[active]


def biased_step(
    x: Tensor, x_orig: Tensor, f: Tensor, w: Tensor, norm: Norm, bounds: Bounds
) -> Tensor:
    """x⁽ⁱ⁺¹⁾ (N, C, H, W): the mean of the projections of x and of the clean image onto π.

    On the hyperplane π f + w · (z − x) = 0. f (N,), w (N, C, H, W).
    """
    delta = hyperplane_step(x, w, -f, norm, bounds)
    gap = -f - (w * (x_orig - x)).flatten(1).sum(dim=1)
    delta_orig = hyperplane_step(x_orig, w, gap, norm, bounds)
    length, length_orig = distances(delta, norm), distances(delta_orig, norm)
    total = (length + length_orig).clamp_min(torch.finfo(x.dtype).tiny)
    alpha = batch_view((length / total).clamp_max(ALPHA_MAX))
    return bounds.clip((1 - alpha) * (x + ETA * delta) + alpha * (x_orig + ETA * delta_orig))


def _nearest_boundary(
    part: AttackContext, x: Tensor, norm: Norm, candidates: int
) -> tuple[Tensor, Tensor, int]:
    """f (N,), above 0 beyond the boundary, its gradient w (N, C, H, W), and the backward passes.

    Of the linearized boundaries with the candidates this is the nearest: the distance is
    abs(f) / ‖w‖ in the dual norm, without the box. With targets there is only theirs.
    """
    if isinstance(part, AimedContext):
        return *part.loss_and_grad(x, part.gap), 1
    if part.targets is not None:
        return *part.loss_and_grad(x, margin), 1
    logits, grads = part.jacobian(x, candidates)
    f = logits[:, 1:] - logits[:, :1]
    w = grads[:, 1:] - grads[:, :1]
    dual = {"linf": 1, "l2": 2, "l1": torch.inf}[norm]
    length = torch.linalg.vector_norm(w.flatten(2), ord=dual, dim=2)
    distance = torch.where(length > 0, f.abs() / length, torch.inf)
    s = distance.argmin(dim=1)
    rows = torch.arange(len(x), device=x.device)
    return f[rows, s], w[rows, s], logits.shape[1]


def hyperplane_step(x: Tensor, w: Tensor, gap: Tensor, norm: Norm, bounds: Bounds) -> Tensor:
    """The shortest δ (N, C, H, W) with w · δ = gap (N,) and x + δ in the box.

    Where the box does not reach the hyperplane, δ goes to the corner nearest to it. In L1 the
    pixels with the largest weight move first, each as far as the box lets it. In L∞ and L2 a pixel
    moves by min(λ, room) and min(λ · abs(w), room). What this gains is a concave, piecewise linear
    function of λ. So Newton's method from λ = 0 never goes too far, and it is exact as soon as no
    further pixel meets the box.

    References:
        Croce and Hein 2020, "Minimally distorted adversarial examples", §3.1 and appendix A.
    """
    direction = (w * batch_view(gap)).sign().flatten(1)
    room = torch.where(direction > 0, bounds.upper - x.flatten(1), x.flatten(1) - bounds.lower)
    room = torch.where(direction == 0, 0.0, room)
    # Divided by the largest weight: the squares of small weights vanish in float32.
    largest = distances(w, "linf").clamp_min(torch.finfo(w.dtype).tiny)
    weight = w.flatten(1).abs() / largest[:, None]
    gain = weight * room
    goal = torch.minimum((gap.abs() / largest), gain.sum(dim=1))[:, None]
    if norm == "l1":
        order = weight.argsort(dim=1, descending=True, stable=True)
        ordered = gain.gather(1, order)
        before = ordered.cumsum(dim=1) - ordered
        # The pixels before the last move all the way, the last as far as is needed.
        fraction = ((goal - before) / ordered).nan_to_num(0.0).clamp(0, 1)
        moved = torch.zeros_like(room).scatter(1, order, fraction) * room
        return (direction * moved).view_as(x)
    speed = weight if norm == "l2" else torch.ones_like(weight)
    scale = torch.zeros_like(goal)  # λ
    free, searching = room > 0, torch.ones_like(goal, dtype=torch.bool)
    while searching.any():
        moved = torch.where(free, scale * speed, room)
        slope = (weight * speed * free).sum(dim=1, keepdim=True)
        missing = goal - (weight * moved).sum(dim=1, keepdim=True)
        step = torch.where(searching & (slope > 0), missing / slope, 0.0).clamp_min(0)
        scale = scale + step
        still_free = free & (scale * speed < room)
        searching, free = (still_free != free).any(dim=1, keepdim=True), still_free
    return (direction * torch.where(free, scale * speed, room)).view_as(x)


def _final_search(best: Nearest) -> None:
    """Regula falsi on the margin, between the clean image and the nearest success (§3.3)."""
    found = best.distances.isfinite() & (best.distances > 0)
    indices = found.nonzero()[:, 0]
    if len(indices) == 0:
        return
    part = best.context.select(indices)
    x_orig, x_out = part.images, best.images[indices]
    delta = x_out - x_orig
    # Fractions of δ: at `low` the image is not adversarial, at `high` it is.
    f_low, _ = part.loss(x_orig, margin)
    f_high, _ = part.loss(x_out, margin)
    low, high = torch.zeros_like(f_low), torch.ones_like(f_low)
    for _ in range(FINAL_STEPS):
        share = (-f_low / (f_high - f_low)).nan_to_num(1.0).clamp(0, 1)
        middle = low + (high - low) * (share + BEYOND * (1 - share))
        x_temp = best.context.bounds.clip(x_orig + batch_view(middle) * delta)
        f, is_adversarial = best.judge(indices, part.logits(x_temp))
        best.update(indices[is_adversarial], x_temp[is_adversarial])
        high, f_high = (
            torch.where(is_adversarial, middle, high),
            torch.where(is_adversarial, f, f_high),
        )
        low, f_low = torch.where(is_adversarial, low, middle), torch.where(is_adversarial, f_low, f)
    best.queries[indices] += 2 + FINAL_STEPS
