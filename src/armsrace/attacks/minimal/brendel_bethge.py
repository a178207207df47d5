"""The Brendel and Bethge attack: along the decision boundary toward the clean image.

Brendel, Rauber, Kümmerer, Ustyuzhaninov and Bethge 2019. Each step of an image solves a small
problem: come as near to the clean image as a linear boundary, the box and a trust region permit.
The problems of all images are solved together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context, check_start
from armsrace.attacks.black_box.starting_points import given, nearest_in_balls
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

START_STEPS, START_STEP, START_GROWTH = 30, 0.02, 1.2
"""Of the default start: gradient steps at most, the first as a fraction of the diagonal of the box,
and how much longer than the last each step is."""
GAIN = 1e-3
"""With `patience`, the fraction by which the distance must fall."""
ROUNDS, CLOSE = 6, 3e-3
"""Points of the path that are tried at most. A point is good enough whose length is so near to the
radius, as a fraction. The result lies on the chord of two points, and so is always feasible."""
NEWTON_STEPS, FIRST_NEWTON_STEPS = 20, 30
"""For each point of the path; for its ends, where a step is cheap and must converge."""
SMOOTHED = 500.0
"""In L1, no t larger than this many radii: it would gain less than a thousandth of the radius."""
THRESHOLDS = 10
"""How many thresholds are tried in L0."""

Path = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(t (N,), s (N,)) -> steps δ (N, P), and 1 where a value of δ follows s · b, else 0."""


def brendel_bethge(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    steps: int = 200,
    learning_rate: float = 0.2,
    decay: float = 0.5,
    decays: int = 10,
    momentum: float = 0.8,
    overshoot: float = 1.1,
    binary_search_steps: int = 10,
    patience: int | None = None,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """From an adversarial image along the decision boundary to the point nearest the clean image.

    Each step linearizes the boundary and goes to its nearest point within a trust region.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "linf", "l2", "l1" or "l0", in which the perturbation is made small.
        steps: linearizations per image.
        learning_rate: the first radius r of the trust region, in L2, as a fraction of the diagonal
            of the box.
        decay: the factor by which r shrinks.
        decays: how often r shrinks, in regular intervals.
        momentum: the weight of earlier gradients in the normal b of the boundary.
        overshoot: 1 aims at the boundary. With 1.1 an image that is not adversarial aims a tenth
            of its margin beyond it, and one that is adversarial keeps a tenth of its margin.
        binary_search_steps: bisections between the clean image and the start.
        patience: stop an image when its distance has not fallen by a thousandth within so many
            steps. By default all steps are taken.
        start: (N, C, H, W), adversarial images to start from. By default gradient steps of growing
            length, until the image is adversarial.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.

    Returns:
        The nearest adversarial images of all steps; the clean image where no start was found.

    Raises:
        ValueError: also where a `start` is not adversarial.

    Differences from the paper:
        * r shrinks at fixed steps, as in the authors' code in Foolbox. In the paper it depends on
          how the attack fares.
        * In Foolbox r is a multiple of the number of values in the whole batch, so that a result
          depends on its neighbors. Ours is a fraction of the diagonal of the box.
        * In L1, L2 and L∞ a step is the best one to a thousandth of r, for all images at once.
          Foolbox solves image by image, in L2 by a heuristic.
        * In L0, where the trust region matters, Foolbox searches both multipliers by Nelder and
          Mead, which may take minutes. Ours bisects one, and counts pixels, not channels.
        * An image counts as adversarial if its margin exceeds the rounding error of the logits.
        * The default start is near, since gradients are at hand. Foolbox starts from blended noise.

    Cost:
        One forward and one backward pass per step, only for images still under search. One forward
        pass per bisection and for the start, up to 30 of both for the default start, and two more.

    References:
        Brendel, Rauber, Kümmerer, Ustyuzhaninov and Bethge 2019, "Accurate, reliable and fast
        robustness evaluation", §3 and equation 1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.brendel_bethge(model, digits.images, digits.labels, steps=20)
        >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    check_choice("norm", norm, ("linf", "l2", "l1", "l0"))
    for name, count, minimum in (
        ("steps", steps, 1),
        ("decays", decays, 1),
        ("binary_search_steps", binary_search_steps, 0),
        ("patience", 1 if patience is None else patience, 1),
    ):
        check_count(name, count, minimum)
    for name, value, least, most in (
        ("learning_rate", learning_rate, 0, torch.inf),
        ("decay", decay, 0, 1),
        ("momentum", momentum, 0, 1),
        ("overshoot", overshoot, 1, 2),
    ):
        check_at_least(name, value, least)
        if value > most:
            raise ValueError(f"{name} must be <= {most:g}, got {value:g}")
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        x_adv, gradients = context.images.clone(), torch.zeros_like(context.labels)
        margins = context.adversarial_loss(context.logits(x_adv), margin)
        queries = torch.ones_like(gradients)
        active = (margins <= 0).nonzero()[:, 0]
        if len(active) > 0:
            part = context.select(active)
            if start is None:
                x_adv[active], found, passes = _gradient_start(part)
                queries[active] += passes
                gradients[active] += passes
                active = active[found]
            else:
                x_adv[active] = given(part, start[active].to(x_adv))
                queries[active] += 1
        if len(active) > 0:
            part = context.select(active)
            x_start = nearest_in_balls(part, x_adv[active], norm, binary_search_steps)
            queries[active] += binary_search_steps
            search = _Search(part, x_start, norm, margins[active])
        for k in range(steps):
            if len(active) == 0:
                break
            search.linearize(momentum)
            queries[active] += 1
            gradients[active] += 1
            x_adv[active] = search.best_adv
            if patience is not None and (search.idle >= patience).any():
                active = active[search.idle < patience]
                search.select(search.idle < patience)
            if k < steps - 1 and len(active) > 0:
                decayed = decay ** ((k + 2) * decays // steps)
                search.step(learning_rate * decayed, overshoot)
        return context.minimal_result(x_adv, queries, gradients)


def _gradient_start(context: AttackContext) -> tuple[Tensor, Tensor, Tensor]:
    """Adversarial images (N, C, H, W) by gradient steps; which were found (N,); passes (N,)."""
    x_adv, passes = context.images.clone(), torch.zeros_like(context.labels)
    found = torch.zeros_like(context.labels, dtype=torch.bool)
    active = torch.arange(len(x_adv), device=x_adv.device)
    width = context.bounds.upper - context.bounds.lower
    length = START_STEP * width * x_adv[0].numel() ** 0.5
    for _ in range(START_STEPS):
        if len(active) == 0:
            break
        part = context.select(active)
        _, grad, is_adversarial = part.loss_grad_and_success(x_adv[active], log_odds)
        passes[active] += 1
        found[active] = is_adversarial
        grad, active = grad[~is_adversarial], active[~is_adversarial]
        x_adv[active] = context.bounds.clip(x_adv[active] + length * normalize(grad, "l2"))
        length *= START_GROWTH
    return x_adv, found, passes


class _Search(PerImage):
    """The images under search: x_tilde are the clean ones, x (M, C, H, W) the current ones.

    best_adv (M, C, H, W): the nearest adversarial images so far. idle (M,): steps since the
    distance last fell by a thousandth. rounding (M,): what a margin must exceed, since the final
    pass may round differently in a batch of another size.
    """

    def __init__(
        self, context: AttackContext, x_start: Tensor, norm: Norm, clean_margins: Tensor
    ) -> None:
        self.context, self.norm = context, norm
        self.x_tilde, self.x, self.best_adv = context.images, x_start, x_start
        self.best_distance = distances(x_start - self.x_tilde, norm)
        self.idle, self.mark = torch.zeros_like(context.labels), self.best_distance
        self.rounding = 64 * torch.finfo(x_start.dtype).eps * (1 + clean_margins.abs())
        self.margins, self.b = torch.zeros_like(clean_margins), torch.full_like(x_start, torch.nan)

    def select(self, active: Tensor) -> None:
        """Keep the images chosen by a bool mask (M,)."""
        super().select(active)
        self.context = self.context.select(active)

    def linearize(self, momentum: float) -> None:
        """Judge x, and take the margin and the normal b of the boundary there."""
        margins, grad, _ = self.context.loss_grad_and_success(self.x, margin)
        self.margins = margins - self.rounding
        self.b = torch.where(self.b.isnan(), grad, torch.lerp(grad, self.b, momentum))
        distance = distances(self.x - self.x_tilde, self.norm)
        nearer = (self.margins >= 0) & (distance < self.best_distance)
        self.best_distance = torch.where(nearer, distance, self.best_distance)
        self.best_adv = torch.where(batch_view(nearer), self.x, self.best_adv)
        gains = self.best_distance <= (1 - GAIN) * self.mark
        self.mark = torch.where(gains, self.best_distance, self.mark)
        self.idle = torch.where(gains, 0, self.idle + 1)

    def step(self, learning_rate: float, overshoot: float) -> None:
        """Move x to the nearest point of the linear boundary within the trust region."""
        bounds = self.context.bounds
        # Beyond by the rounding error at least, or x might never count as adversarial.
        scale = torch.where(self.margins < 0, overshoot, 2 - overshoot).to(self.margins.dtype)
        c = self.rounding - scale * self.margins
        diagonal = bounds.width * self.x[0].numel() ** 0.5
        r = torch.full_like(c, learning_rate * diagonal)
        delta = trust_region_step(self.x_tilde, self.x, self.b, c, r, bounds, self.norm)
        # The sum may miss a clean value by its rounding error, and L0 would count the pixel.
        reset = delta == self.x_tilde - self.x
        self.x = torch.where(reset, self.x_tilde, bounds.clip(self.x + delta))


def trust_region_step(
    x_tilde: Tensor, x: Tensor, b: Tensor, c: Tensor, r: Tensor, bounds: Bounds, norm: Norm
) -> Tensor:
    """The step δ (N, C, H, W) with the least ‖x + δ − x̃‖ on the plane, in the box and the ball.

    The plane is bᵀδ = c, the ball ‖δ‖₂ ≤ r. Where box and ball do not reach the plane, δ is the
    step in them that comes nearest to it.

    With multipliers for plane and ball, δ minimizes t ‖x + δ − x̃‖ + ½ ‖δ‖₂² − s bᵀδ in the box,
    for some s and t ≥ 0. That is a formula for each value of δ. A larger t gives a longer δ, nearer
    to x̃. So s is found by Newton's method such that δ is on the plane, and t such that ‖δ‖₂ = r.

    Args:
        x_tilde: x̃ (N, C, H, W), the clean images.
        x: (N, C, H, W), the images to move.
        b: (N, C, H, W), the normals of the planes.
        c: (N,), bᵀδ on the plane.
        r: (N,), the radii of the trust regions, in pixel units.
        bounds: the box of valid pixels for x + δ.
        norm: "linf", "l2" or "l1", solved exactly; "l0" by a heuristic.
    """
    # Half precision could not hold the sums.
    wide = torch.promote_types(x.dtype, torch.float32)
    values = (x_tilde - x, b, bounds.lower - x, bounds.upper - x)
    target, normal, lower, upper = (part.flatten(1).to(wide) for part in values)
    # The same plane with ‖b‖₂ = 1 and c ≥ 0. The largest value first: squares may vanish.
    tiny = torch.finfo(wide).tiny
    largest = normal.abs().amax(dim=1).clamp_min(tiny)
    normal = normal / largest[:, None]
    length = torch.linalg.vector_norm(normal, dim=1).clamp_min(tiny)
    normal = normal * (torch.where(c < 0, -1.0, 1.0).to(wide) / length)[:, None]
    # Where b vanishes the plane is infinitely far.
    c = (c.abs().to(wide) / largest / length).clamp_max(torch.finfo(wide).max)
    lower, upper = lower.clamp_max(0), upper.clamp_min(0)
    problem = _Problem(target, normal, c, r.to(wide), lower, upper, x.shape[1])
    delta, s, reaches = problem.shortest()
    if reaches.any():
        if not reaches.all():
            problem.select(reaches)
        delta[reaches] = problem.nearest(norm, delta[reaches], s[reaches])
    return delta.view_as(x).to(x.dtype)


class _Problem(PerImage):
    """The problems of N images: steps δ (N, P) with lower ≤ δ ≤ upper, bᵀδ = c and ‖δ‖₂ ≤ r.

    target (N, P): x̃ − x, the step that we would like best. ‖b‖₂ = 1, c ≥ 0. rounding (N,): the
    error of bᵀδ.
    """

    def __init__(
        self, target: Tensor, b: Tensor, c: Tensor, r: Tensor, lower: Tensor, upper: Tensor,
        channels: int,
    ) -> None:  # fmt: skip
        self.target, self.b, self.c, self.r = target, b, c, r
        self.lower, self.upper, self.channels = lower, upper, channels
        self.b_squared = b.square()
        longest = torch.maximum(torch.linalg.vector_norm(target, dim=1), r)
        self.rounding = 16 * torch.finfo(b.dtype).eps * longest

    def shortest(self) -> tuple[Tensor, Tensor, Tensor]:
        """The shortest δ on the plane, or as near to it as box and ball permit; s; on the plane?

        δ is s · b clipped to the box. Both bᵀδ and ‖δ‖₂ grow with s and bend downward, so that
        Newton's steps never exceed the least s at which either is large enough.
        """
        s = torch.minimum(self.c, self.r)
        for _ in range(FIRST_NEWTON_STEPS):
            delta, follows = _clamped(s[:, None] * self.b, self.lower, self.upper)
            slope = _dot(self.b_squared, follows)
            gap = self.c - _dot(self.b, delta)
            to_sphere = (s.square() + (self.r.square() - _dot(delta, delta)) / slope).clamp_min(0)
            following = torch.minimum(s + gap / slope, to_sphere.sqrt())
            grows = (slope > 0) & (following > s * (1 + 1e-6))
            if not grows.any():
                break
            s = torch.where(grows, following, s)
        return delta, s, gap <= 1e-4 * self.c + self.rounding

    def nearest(self, norm: Norm, delta: Tensor, s: Tensor) -> Tensor:
        """The best δ, given the shortest one and its s."""
        zero = torch.zeros_like(s)
        if norm == "l2":
            # t / (1 + t) in place of t: from 0, the shortest step, to 1 without a trust region.
            s_far, far, on = self._on_plane(self._path_l2, zero + 1, s, zero == 0)
            far = torch.where(on[:, None], far, delta)
            return self._in_ball(self._path_l2, (zero, zero + 1), (s, s_far), (delta, far))
        if norm == "l1":
            return self._in_ball(self._path_l1, (zero, zero + torch.inf), (s, s), (delta, delta))
        if norm == "linf":
            # ε, the L∞ distance to x̃, in place of t: it shrinks as t grows.
            epsilon, far = self._smallest_cube()
            first = (delta - self.target).abs().amax(dim=1)
            return self._in_ball(self._path_linf, (first, epsilon), (s, s), (delta, far))
        return self._fewest_pixels(delta, s)

    def _path_l2(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        following = torch.addcmul(t[:, None] * self.target, s[:, None], self.b)
        return _clamped(following, self.lower, self.upper)

    def _path_l1(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        following, t = s[:, None] * self.b, t[:, None]
        shrunk = torch.clamp(self.target, following - t, following + t)
        delta, inside = _clamped(shrunk, self.lower, self.upper)
        return delta, inside * (shrunk - self.target).sign().abs()

    def _path_linf(self, epsilon: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        lower = torch.maximum(self.lower, self.target - epsilon[:, None])
        upper = torch.minimum(self.upper, self.target + epsilon[:, None])
        return _clamped(s[:, None] * self.b, lower, upper)

    def _path_between(self, lower: Tensor, upper: Tensor) -> Path:
        return lambda t, s: _clamped(s[:, None] * self.b, lower, upper)

    def _on_plane(
        self, path: Path, t: Tensor, s: Tensor, searched: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """s (N,), the path's δ (N, P) at t, and whether it is on the plane (N,), where `searched`.

        bᵀδ grows with s, linearly between corners: Newton's method, in a bracket.
        """
        low, high = torch.full_like(s, -torch.inf), torch.full_like(s, torch.inf)
        for _ in range(NEWTON_STEPS):
            delta, follows = path(t, s)
            gap = self.c - _dot(self.b, delta)
            on_plane = gap.abs() <= 1e-4 * self.c + self.rounding
            off = searched & ~on_plane
            if not off.any():
                break
            low, high = torch.where(gap > 0, s, low), torch.where(gap < 0, s, high)
            newton = s + gap / _dot(self.b_squared, follows)
            bisected = (low + high) / 2
            doubled = s + gap.sign() * (s.abs() + self.r)
            safe = torch.where(bisected.isfinite(), bisected, doubled)
            s = torch.where(off, torch.where((low < newton) & (newton < high), newton, safe), s)
        return s, delta, on_plane

    def _in_ball(
        self, path: Path, ts: tuple[Tensor, Tensor], ss: tuple[Tensor, Tensor],
        deltas: tuple[Tensor, Tensor],
    ) -> Tensor:  # fmt: skip
        """The path's last δ (N, P) with ‖δ‖₂ ≤ r, between a short one and one that may be longer.

        The chord of two points of the path is in the box and on the plane. So we take the point of
        it with ‖δ‖₂ = r. Its t, by proportion, is the next to try.
        """
        (t_short, t_long), (s_short, s_long), (short, long) = ts, ss, deltas
        changed = (self.target != 0).sum(dim=1).clamp_min(1).to(self.r.dtype)
        step = self.r / changed.sqrt()
        side, twice = torch.zeros_like(step), torch.zeros_like(step, dtype=torch.bool)
        for _ in range(ROUNDS):
            fraction = _leaves_ball(short, long, self.r)
            unbounded = t_long.isinf()
            close = torch.linalg.vector_norm(short, dim=1) > (1 - CLOSE) * self.r
            tried = ((fraction < 1) | (unbounded & (t_short < SMOOTHED * self.r))) & ~close
            if not tried.any():
                break
            fraction = torch.where(twice, 0.5, fraction)
            t = torch.where(unbounded, step, t_short + fraction * (t_long - t_short))
            grown = s_short * torch.where(t_short > 0, t / t_short, 1)
            s = torch.where(unbounded, grown, torch.lerp(s_short, s_long, fraction))
            s, delta, on_plane = self._on_plane(path, t, s, tried)
            length = torch.linalg.vector_norm(delta, dim=1)
            fits = length <= self.r
            # Twice on one side: the other end holds the proportion back.
            last, side = side, torch.where(fits, 1, -1)
            twice = (side == last) & ~unbounded
            growth = (2 * self.r / length.clamp_min(torch.finfo(s.dtype).tiny)).clamp(1, 8)
            step = torch.minimum(growth * t, SMOOTHED * self.r)
            shorter = tried & on_plane & fits
            longer = tried & on_plane & ~fits
            t_short, s_short = torch.where(shorter, t, t_short), torch.where(shorter, s, s_short)
            t_long = torch.where(longer, t, t_long)
            s_long = torch.where(longer, s, s_long)
            short = torch.where(shorter[:, None], delta, short)
            longer |= shorter & unbounded
            long = torch.where(longer[:, None], delta, long)
        return torch.lerp(short, long, _leaves_ball(short, long, self.r)[:, None])

    def _smallest_cube(self) -> tuple[Tensor, Tensor]:
        """The least ε (N,) at which the plane meets the cube around x̃, cut by the box; δ there."""
        gap = self.c - _dot(self.b, self.target)
        side = torch.where(gap[:, None] < 0, -self.b, self.b)
        room = torch.where(side > 0, self.upper - self.target, self.target - self.lower)
        size, gap, epsilon = side.abs(), gap.abs(), torch.zeros_like(gap)
        for _ in range(FIRST_NEWTON_STEPS):
            used = torch.minimum(room, epsilon[:, None])
            slope = _dot(size, (room - used).sign())
            following = epsilon + (gap - _dot(size, used)) / slope
            grows = (slope > 0) & (following > epsilon * (1 + 1e-6))
            if not grows.any():
                break
            epsilon = torch.where(grows, following, epsilon)
        return epsilon, self.target + side.sign() * used

    def _fewest_pixels(self, delta: Tensor, s: Tensor) -> Tensor:
        """A δ (N, P) that resets most pixels to x̃, by bisection of what a pixel must be worth.

        The best δ without the ball, where it is in the ball. Else: at given s and t a pixel is
        reset where this costs less than t. The pixels that are left take the shortest step to the
        plane.
        """
        for k in range(THRESHOLDS):
            wanted = s[:, None] * self.b
            kept = wanted.clamp(self.lower, self.upper)
            worth = (self.target - wanted).square() - (kept - wanted).square()
            worth = worth.view(len(worth), self.channels, -1).sum(dim=1)
            if k == 0:
                high = worth.amax(dim=1)
                low = 1e-6 * high
            t = (low * high).sqrt() if k > 0 else high
            left = (worth > t[:, None]).to(wanted.dtype).repeat(1, self.channels)
            lower = torch.lerp(self.target, self.lower, left)
            upper = torch.lerp(self.target, self.upper, left)
            most = _dot(self.b.clamp_min(0), upper) + _dot(self.b.clamp_max(0), lower)
            path = self._path_between(lower, upper)
            enough = most >= self.c
            s_t, candidate, on_plane = self._on_plane(path, t, s, enough)
            short = torch.linalg.vector_norm(candidate, dim=1) <= self.r
            fits = enough & on_plane & short
            delta = torch.where(fits[:, None], candidate, delta)
            s = torch.where(fits, s_t, s)
            low, high = torch.where(fits, t, low), torch.where(fits, high, t)
        greedy = self._greedy_pixels()
        fits = torch.linalg.vector_norm(greedy, dim=1) <= self.r
        return torch.where(fits[:, None], greedy, delta)

    def _greedy_pixels(self) -> Tensor:
        """Without the ball: from x̃, the pixels that can gain most, until δ is on the plane."""
        gap = self.c - _dot(self.b, self.target)
        side = torch.where(gap[:, None] < 0, -self.b, self.b)
        room = torch.where(side > 0, self.upper - self.target, self.target - self.lower)
        gains = (side.abs() * room).view(len(side), self.channels, -1).sum(dim=1)
        gains, order = gains.sort(dim=1, descending=True)
        missing = gap.abs()[:, None] - (gains.cumsum(dim=1) - gains)
        shares = (missing / gains.clamp_min(torch.finfo(gains.dtype).tiny)).clamp(0, 1)
        shares = torch.zeros_like(gains).scatter(1, order, shares)
        return self.target + shares.repeat(1, self.channels) * room * side.sign()


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.vecdot(left, right)


def _clamped(values: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N, P) clipped, and 1 where they were inside, else 0."""
    clamped = torch.clamp(values, lower, upper)
    # A comparison takes four times as long.
    return clamped, 1 - (clamped - values).sign().abs()


def _leaves_ball(short: Tensor, long: Tensor, r: Tensor) -> Tensor:
    """The fraction (N,) of the way from short to long (N, P) at which the length exceeds r."""
    chord = long - short
    a, half_b = _dot(chord, chord), _dot(short, chord)
    c = (r.square() - _dot(short, short)).clamp_min(0)
    root = (half_b.square() + a * c).sqrt()
    tiny = torch.finfo(a.dtype).tiny
    fraction = torch.where(
        half_b > 0, c / (half_b + root).clamp_min(tiny), (root - half_b) / a.clamp_min(tiny)
    )
    return fraction.clamp(0, 1)
