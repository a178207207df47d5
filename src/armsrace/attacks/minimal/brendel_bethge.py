"""The Brendel and Bethge attack: along the decision boundary toward the clean image.

Brendel, Rauber, Kümmerer, Ustyuzhaninov and Bethge 2019, §3. Each step solves a small convex
problem per image: the nearest point of the linearized boundary within the box and a trust region.
All images are solved at once. Vectors (N, P) are images (N, C, H, W) with their P values in a row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context, check_start
from armsrace.attacks.black_box.starting_points import given
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
from armsrace.losses import log_odds, margin
from armsrace.norms import batch_view, distances, normalize

START_STEPS, FIRST_START_STEP, START_GROWTH = 30, 0.02, 1.2
"""Gradient steps of the default start at most; the first, as a fraction of the diagonal of the box;
each is this much longer than the last."""
GAIN = 1e-3
"""With `patience`, the distance must fall by this fraction."""
ROUNDS, NEWTON_STEPS = 8, 30
"""How many points of the path from the shortest to the best step are tried; Newton steps for each."""

Path = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(t (N,), s (N,)) -> a step δ (N, P), and 0 for its values that do not follow s · b, else 1."""


def brendel_bethge(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    steps: int = 1000,
    learning_rate: float = 1e-3,
    decay: float = 0.5,
    decays: int = 20,
    momentum: float = 0.8,
    overshoot: float = 1.1,
    binary_search_steps: int = 10,
    patience: int | None = None,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    check_choice("norm", norm, ("linf", "l2", "l1", "l0"))
    check_count("steps", steps)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        best_adv = context.images.clone()
        margins = context.adversarial_loss(context.logits(best_adv), margin)
        passes = [torch.ones_like(context.labels), torch.zeros_like(context.labels)]
        active = (margins <= 0).nonzero()[:, 0]
        rounding = 64 * torch.finfo(margins.dtype).eps * (1 + margins.abs())
        if start is None:
            x_adv, found, tried = _gradient_start(context.select(active))
            passes[0][active] += tried
            passes[1][active] += tried
            active, x_adv = active[found], x_adv[found]
        else:
            x_adv = start.to(best_adv)[active]
            if len(active) > 0:
                given(context.select(active), x_adv)
        if len(active) > 0:
            part = context.select(active)
            x_adv = _to_boundary(part, x_adv, norm, binary_search_steps)
            best_adv[active] = x_adv
            s = _Search(part, x_adv, rounding[active], norm)
            for step in range(steps):
                passes[0][active] += 1
                passes[1][active] += 1
                r = learning_rate * decay ** ((step + 2) // max(1, steps // decays))
                s.step(r, momentum, overshoot)
                best_adv[active] = s.best_adv
        return context.minimal_result(best_adv, passes[0], passes[1])


class _Search(PerImage):
    def __init__(self, context, x_adv, rounding, norm):
        self.context, self.x, self.rounding, self.norm = context, x_adv, rounding, norm
        self.best_adv = x_adv
        self.best_distance = distances(x_adv - context.images, norm)
        self.b = None

    def step(self, learning_rate, momentum, overshoot):
        context, bounds = self.context, self.context.bounds
        margins, grad, _ = context.loss_grad_and_success(self.x, margin)
        margins = margins - self.rounding
        distance = distances(self.x - context.images, self.norm)
        nearer = (margins >= 0) & (distance < self.best_distance)
        self.best_distance = torch.where(nearer, distance, self.best_distance)
        self.best_adv = torch.where(batch_view(nearer), self.x, self.best_adv)
        self.b = grad if self.b is None else momentum * self.b + (1 - momentum) * grad
        c = -torch.where(margins < 0, overshoot, 2 - overshoot) * margins
        width = bounds.upper - bounds.lower
        r = torch.full_like(c, learning_rate * width * self.x[0].numel())
        delta = trust_region_step(context.images, self.x, self.b, c, r, bounds, self.norm)
        self.x = bounds.clip(self.x + delta)


def _gradient_start(context: AttackContext) -> tuple[Tensor, Tensor, Tensor]:
    """Adversarial images by gradient steps of growing length: images, found (N,), passes (N,)."""
    x_adv, passes = context.images.clone(), torch.zeros_like(context.labels)
    active = torch.arange(len(x_adv), device=x_adv.device)
    width = context.bounds.upper - context.bounds.lower
    size = FIRST_START_STEP * width * x_adv[0].numel() ** 0.5
    found = torch.zeros_like(passes, dtype=torch.bool)
    for k in range(START_STEPS):
        if len(active) == 0:
            break
        part = context.select(active)
        _, grad, is_adversarial = part.loss_grad_and_success(x_adv[active], log_odds)
        passes[active] += 1
        found[active] = is_adversarial
        grad, active = grad[~is_adversarial], active[~is_adversarial]
        x_adv[active] = context.bounds.clip(x_adv[active] + size * normalize(grad, "l2"))
        size *= START_GROWTH
    return x_adv, found, passes


def _to_boundary(context: AttackContext, x_adv: Tensor, norm: Norm, steps: int) -> Tensor:
    delta = x_adv - context.images
    sizes = delta.abs() if norm != "l0" else delta.abs().amax(dim=1, keepdim=True)
    largest = batch_view(sizes.flatten(1).amax(dim=1))
    low, high = torch.zeros_like(largest), torch.ones_like(largest)
    for _ in range(steps):
        middle = (low + high) / 2
        candidates = _between(context.images, delta, sizes, largest, middle, norm)
        candidates = context.bounds.clip(candidates)
        is_adversarial = batch_view(context.is_adversarial(context.logits(candidates)))
        x_adv = torch.where(is_adversarial, candidates, x_adv)
        low, high = torch.where(is_adversarial, low, middle), torch.where(is_adversarial, middle, high)
    return x_adv


def _between(x, delta, sizes, largest, fraction, norm):
    if norm == "l2":
        return x + fraction * delta
    if norm == "linf":
        return x + torch.minimum(torch.maximum(delta, -fraction * largest), fraction * largest)
    threshold = (1 - fraction) * largest
    if norm == "l1":
        return x + delta.sign() * (delta.abs() - threshold).clamp_min(0)
    return torch.where(sizes > threshold, x + delta, x)


def trust_region_step(
    x_tilde: Tensor, x: Tensor, b: Tensor, c: Tensor, r: Tensor, bounds: Bounds, norm: Norm
) -> Tensor:
    """The step δ (N, C, H, W) that brings x + δ nearest to x̃ on the linearized boundary.

    It minimizes the norm of x + δ − x̃ subject to the box, bᵀδ = c and ‖δ‖₂ ≤ r. Where no step
    within box and trust region reaches the boundary, δ leads as far toward it as they permit.
    """
    channels, shape = x.shape[1], x.shape
    dtype = torch.promote_types(x.dtype, torch.float32)
    x_tilde, x, b = (part.flatten(1).to(dtype) for part in (x_tilde, x, b))
    lower, upper, x_tilde = bounds.lower - x, bounds.upper - x, x_tilde - x
    lower, upper = lower.clamp_max(0), upper.clamp_min(0)
    # The same boundary with ‖b‖ = 1 and c ≥ 0: s, below, is then a length in pixel units.
    tiny = torch.finfo(dtype).tiny
    largest = b.abs().amax(dim=1).clamp_min(tiny)
    b = b / largest[:, None]
    length = torch.linalg.vector_norm(b, dim=1).clamp_min(tiny)
    b = b * (torch.where(c < 0, -1.0, 1.0) / length)[:, None]
    c = c.abs() / largest / length
    problem = _Problem(x_tilde, b, c, r, lower, upper, norm, channels)
    return problem.solve().view(shape)


class _Problem:
    def __init__(self, target, b, c, r, lower, upper, norm, channels):
        self.target, self.b, self.c, self.r = target, b, c, r
        self.lower, self.upper, self.norm, self.channels = lower, upper, norm, channels
        self.b2 = b * b

    def solve(self):
        near, s, reaches = self.toward_boundary()
        if self.norm == "l0":
            return self.fewest(near, s, reaches)
        path = {"l2": self.path_l2, "l1": self.path_l1, "linf": self.path_linf}[self.norm]
        zero = torch.zeros_like(s)
        if self.norm == "l2":
            t_near, t_far = zero, zero + 1
            _, far = self.on_plane(path, t_far, s)
        elif self.norm == "l1":
            t_near, t_far, far = zero, zero + torch.inf, near
        else:
            t_near = (near - self.target).abs().amax(dim=1)
            t_far, far = self.smallest_cube()
        return torch.where(reaches[:, None], self.within(path, near, far, t_near, t_far, s), near)

    def path_l2(self, t, s):
        follows = torch.addcmul(t[:, None] * self.target, s[:, None], self.b)
        delta = torch.clamp(follows, self.lower, self.upper)
        return delta, 1 - (delta - follows).sign().abs()

    def path_linf(self, t, s):
        t = t[:, None]
        follows = s[:, None] * self.b
        delta = torch.clamp(follows, torch.maximum(self.lower, self.target - t), torch.minimum(self.upper, self.target + t))
        return delta, 1 - (delta - follows).sign().abs()

    def path_l1(self, t, s):
        follows = s[:, None] * self.b
        t = t[:, None]
        shrunk = torch.clamp(self.target, follows - t, follows + t)
        delta = torch.clamp(shrunk, self.lower, self.upper)
        moves = (shrunk - self.target).sign().abs() * (1 - (delta - shrunk).sign().abs())
        return delta, moves

    def toward_boundary(self):
        b, b2, c, r = self.b, self.b2, self.c, self.r
        s = torch.minimum(c, r)
        for _ in range(NEWTON_STEPS):
            follows = s[:, None] * b
            delta = torch.clamp(follows, self.lower, self.upper)
            moves = 1 - (delta - follows).sign().abs()
            slope = dot(b2, moves)
            gap, spare = c - dot(b, delta), r * r - dot(delta, delta)
            ahead = torch.minimum(s + gap / slope, (s * s + spare / slope).clamp_min(0).sqrt())
            grows = (slope > 1e-12) & (ahead > s * (1 + 1e-6))
            if not grows.any():
                break
            s = torch.where(grows, ahead, s)
        return delta, s, gap <= 1e-4 * c + 1e-6 * r

    def on_plane(self, path, t, s, c=None):
        c = self.c if c is None else c
        low, high = torch.full_like(s, -torch.inf), torch.full_like(s, torch.inf)
        eps = torch.finfo(s.dtype).eps
        for _ in range(NEWTON_STEPS):
            delta, moves = path(t, s)
            gap = c - dot(self.b, delta)
            open_ = gap.abs() > 1e-5 * c + 16 * eps
            if not open_.any():
                break
            low, high = torch.where(gap > 0, s, low), torch.where(gap < 0, s, high)
            newton = s + gap / dot(self.b2, moves)
            wide = s + gap.sign() * (s.abs() + 1e-3)
            half = torch.where(low.isfinite() & high.isfinite(), (low + high) / 2, wide)
            ahead = torch.where((low < newton) & (newton < high), newton, half)
            s = torch.where(open_, ahead, s)
        return s, delta

    def within(self, path, near, far, t_near, t_far, s):
        r = self.r
        grow = r / (self.target != 0).sum(dim=1).clamp_min(1).sqrt()
        last = torch.zeros_like(r, dtype=torch.bool)
        for k in range(ROUNDS):
            f = crossing(near, far, r)
            t = t_near + f * (t_far - t_near)
            if self.norm == "l1":
                t = torch.where(t_far.isinf(), grow, t)
            open_ = (f < 1) | t_far.isinf()
            if not open_.any():
                break
            if k >= 2:
                t = torch.where(stuck & t_far.isfinite(), (t_near + t_far) / 2, t)
            s, delta = self.on_plane(path, t, s)
            length = torch.linalg.vector_norm(delta, dim=1)
            inside = length <= r
            grow = t * (2 * r / length.clamp_min(1e-30)).clamp(1, 4)
            stuck, last = inside == last, inside
            keep_near, keep_far = open_ & inside, open_ & ~inside
            t_near, near = torch.where(keep_near, t, t_near), torch.where(keep_near[:, None], delta, near)
            t_far, far = torch.where(keep_far, t, t_far), torch.where(keep_far[:, None], delta, far)
        return near + crossing(near, far, r)[:, None] * (far - near)

    def smallest_cube(self):
        gap = self.c - dot(self.b, self.target)
        side = torch.where(gap[:, None] < 0, -self.b, self.b)
        gap = gap.abs()
        room = torch.where(side > 0, self.upper - self.target, self.target - self.lower)
        size, t = side.abs(), torch.zeros_like(gap)
        for _ in range(NEWTON_STEPS):
            used = torch.minimum(room, t[:, None])
            slope = dot(size, (room - used).sign())
            ahead = t + (gap - dot(size, used)) / slope
            grows = (slope > 1e-12) & (ahead > t * (1 + 1e-6))
            if not grows.any():
                break
            t = torch.where(grows, ahead, t)
        return t, self.target + side.sign() * used

    def fewest(self, near, s, reaches):
        b, c, r = self.b, self.c, self.r
        best = near
        theta_low, theta_high = None, None
        for k in range(12):
            follows = s[:, None] * b
            kept = torch.clamp(follows, self.lower, self.upper)
            score = (self.target - follows).square() - (kept - follows).square()
            score = score.view(len(score), self.channels, -1).sum(dim=1)
            if k == 0:
                theta_high = score.amax(dim=1)
                theta_low = theta_high * 1e-6
            theta = (theta_low * theta_high).sqrt()
            chosen = (score > theta[:, None]).to(b).repeat(1, self.channels)
            lower = torch.lerp(self.target, self.lower, chosen)
            upper = torch.lerp(self.target, self.upper, chosen)
            most = dot(b.clamp_min(0), upper) + dot(b.clamp_max(0), lower)
            def path(t, s):
                follows = s[:, None] * b
                delta = torch.clamp(follows, lower, upper)
                return delta, 1 - (delta - follows).sign().abs()
            s_new, delta = self.on_plane(path, s, s, torch.minimum(c, 0.999 * most))
            ok = (most >= c) & (torch.linalg.vector_norm(delta, dim=1) <= r) & reaches
            best = torch.where(ok[:, None], delta, best)
            s = torch.where(ok, s_new, s)
            theta_low, theta_high = torch.where(ok, theta, theta_low), torch.where(ok, theta_high, theta)
        return best


def dot(a, b):
    return torch.linalg.vecdot(a, b)


def crossing(near, far, r):
    way = far - near
    a, h = dot(way, way), dot(near, way)
    g = (r * r - dot(near, near)).clamp_min(0)
    root = (h * h + a * g).sqrt()
    tiny = torch.finfo(a.dtype).tiny
    f = torch.where(h > 0, g / (h + root).clamp_min(tiny), (root - h) / a.clamp_min(tiny))
    return f.clamp(0, 1)
