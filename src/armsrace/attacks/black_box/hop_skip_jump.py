"""HopSkipJump: a gradient at the decision boundary, estimated from decisions alone, in L2 and L∞.

Chen, Jordan and Wainwright 2020, Algorithms 1 and 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, attack_context, check_start
from armsrace.attacks.black_box.starting_points import starts
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_at_least,
    check_choice,
    check_count,
    query_limit,
)
from armsrace.norms import batch_view, distances, normalize
from armsrace.randomness import Keys, default_generator

MAX_DIRECTIONS = 10_000
"""The authors' limit for B_t."""
FIRST_DELTA = 0.1
"""δ of the first estimate, as a fraction of the width of the box; the authors' value."""
HALVINGS = 20
"""Of the step ξ at most; where none of them is adversarial, the image stays on the boundary."""
DIRECTIONS_PER_DRAW, NUMBERS_PER_DRAW = 64, 2**22
"""How many directions, and how many numbers, are held in memory at once."""


def hop_skip_jump(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    steps: int = 64,
    initial_directions: int = 100,
    gamma: float = 1.0,
    tries: int = 50,
    queries: int | None = None,
    batch_size: int = 256,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Jump off the boundary along its estimated normal, and return to it on the way to the image.

    Each step t estimates the gradient direction at the boundary by

        v_t ∝ Σ_b (φ(x_t + δ_t u_b) − φ̄) u_b,    φ = 1 where adversarial, else −1,

    moves from x_t to x̃_t = x_t + ξ v_t (L2) or x_t + ξ sign(v_t) (L∞), and bisects from x̃_t toward
    the clean image. ξ begins at the distance to the image divided by √t, and is halved until x̃_t
    is adversarial.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: "l2" or "linf".
        steps: T, the most steps that an image takes.
        initial_directions: B₀; step t draws B_t = B₀ √t directions u_b.
        gamma: γ of the bisection's tolerance θ = γ / d^{3/2} (L2) or γ / d² (L∞), a fraction of the
            segment to the image, for d values per image. δ_t is d^{1/2} θ (L2) or d θ (L∞) times
            the distance of x̃.
        tries: noise images at most, in search of an adversarial one to start from.
        queries: forward passes per image at most, at least 3.
        batch_size: the largest number of probes sent at once, unless there are more images.
        start: (N, C, H, W), adversarial images to start from instead of noise.
        targets: (N,) int64 wanted classes. Noise is seldom classified as one of them, so give
            images of these classes as `start`.
        bounds: the box of valid pixels.
        generator: source of noise and directions; a new one seeded 0 by default.

    Returns:
        The nearest adversarial images of all steps; the clean image where no noise is adversarial.

    Raises:
        ValueError: also where a `start` is not adversarial.

    Differences from the paper:
        * The nearest image of all steps comes back. The paper returns the last one, which may be
          farther away.
        * Noise is salt and pepper, as for `boundary`.
        * θ is at least 2.4e-5, and no bisection divides a distance shorter than 2.4e-5 of the
          box's width (more in half precision), since rounding decides closer to the boundary. This
          changes L∞ and photographs, where the authors take γ = 1000.
        * After 20 halvings of ξ the image stays where it is.

    Cost:
        Per step, B_t forward passes, about two for ξ, and about log₂(1 / θ) for the bisection. No
        gradients. 64 steps take 36,000 queries per image.

    References:
        Chen, Jordan and Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based
        attack", Algorithms 1 and 2; §III-C (δ, B_t, ξ).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.hop_skip_jump(model, digits.images, digits.labels, queries=1000)
        >>> found.queries.max() <= 1000, found.gradients.sum()
        (tensor(True), tensor(0))
        >>> evaluation.median_distance(digits.images, found, "l2") < 1.5
        True
    """
    check_choice("norm", norm, ("l2", "linf"))
    check_count("steps", steps)
    check_count("initial_directions", initial_directions)
    check_at_least("gamma", gamma, 1e-6)
    check_count("tries", tries)
    check_count("batch_size", batch_size)
    limit = query_limit(queries)
    checked = attack_context(model, images, labels, targets, bounds, decisions=True)
    with checked as context, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        generator = default_generator(generator)
        best_adv, used = context.images.clone(), torch.ones_like(context.labels)
        active = (~context.is_adversarial(context.logits(best_adv))).nonzero()[:, 0]
        if len(active) > 0:
            part, keys = context.select(active), Keys(best_adv)[active]
            given_start = None if start is None else start[active]
            tries = int(min(tries, limit - 2))
            x_adv, found, tried = starts(part, given_start, keys, tries, generator)
            used[active] += tried
            active = active[found]
        if len(active) > 0:
            hops = _Hops(part.select(found), keys[found], x_adv[found], norm, gamma)
            hops.used, hops.limit = used[active], limit - 1
            hops.return_to_boundary()
            for t in range(1, steps + 1):
                best_adv[active], used[active] = hops.best_adv, hops.used
                directions = min(int(initial_directions * math.sqrt(t)), MAX_DIRECTIONS)
                going = hops.affordable(directions) > 0
                hops.select(going)
                active = active[going]
                if len(active) == 0:
                    break
                hops.jump(t, hops.direction(t, directions, batch_size, generator))
                hops.return_to_boundary()
            best_adv[active], used[active] = hops.best_adv, hops.used
        return context.minimal_result(best_adv, used, torch.zeros_like(used))


class _Hops(PerImage):
    """The state of the images under search.

    x_t (M, C, H, W): adversarial, on the boundary. x_tilde: adversarial, where the bisection for
    x_t began. best_adv: the nearest so far. used (M,): queries; limit: of them, less the verdict.
    """

    used: Tensor
    limit: float

    def __init__(
        self, context: AttackContext, keys: Keys, x_adv: Tensor, norm: Norm, gamma: float
    ) -> None:
        self.context, self.keys, self.norm = context, keys, norm
        self.x_t = self.x_tilde = self.best_adv = x_adv
        self.d = x_adv[0].numel()
        theta = gamma / (self.d * math.sqrt(self.d) if norm == "l2" else self.d**2)
        # Next to the boundary, rounding decides; and rounding depends on the batch. float64 is
        # treated as float32, so that both take the same steps.
        eps = max(torch.finfo(dtype).eps for dtype in (x_adv.dtype, torch.float32))
        self.resolution = eps ** (2 / 3) * context.bounds.width
        self.theta = max(theta, eps ** (2 / 3))
        self.bisections = max(1, math.ceil(-math.log2(self.theta)))

    def select(self, active: Tensor) -> None:
        """Keep the images chosen by a bool mask (M,)."""
        super().select(active)
        self.context, self.keys = self.context.select(active), self.keys[active]

    def affordable(self, directions: int) -> Tensor:
        """How many of the directions (M,) leave enough queries for two jumps and the bisection."""
        left = self.limit - self.used - self.bisections - 2
        return left.clamp(0, directions).long()

    def return_to_boundary(self) -> None:
        """x_t is where the way from x̃_t to the image leaves the adversarial region, bisected.

        In L2 the way is a line, in L∞ it is the clipping to a ball that shrinks.
        """
        x, bounds = self.context.images, self.context.bounds
        radius = distances(self.x_tilde - x, self.norm)
        low, high = torch.zeros_like(radius), torch.ones_like(radius)
        self.x_t = self.x_tilde
        for _ in range(self.bisections):
            middle = (low + high) / 2
            delta = self.x_tilde - x
            if self.norm == "l2":
                candidates = bounds.clip(x + batch_view(middle) * delta)
            else:
                ball = batch_view(middle * radius)
                candidates = bounds.clip(x + delta.clamp(-ball, ball))
            is_adversarial = self._ask(candidates, (high - low) * radius > self.resolution)
            self.x_t = torch.where(batch_view(is_adversarial), candidates, self.x_t)
            high = torch.where(is_adversarial, middle, high)
            low = torch.where(is_adversarial, low, middle)
        nearer = distances(self.x_t - x, self.norm) < distances(self.best_adv - x, self.norm)
        self.best_adv = torch.where(batch_view(nearer), self.x_t, self.best_adv)

    def direction(
        self, t: int, directions: int, batch_size: int, generator: torch.Generator
    ) -> Tensor:
        """v_t (M, C, H, W): of length one in L2, or signs in L∞."""
        shape, bounds = self.x_t.shape[1:], self.context.bounds
        delta = self.theta * distances(self.x_tilde - self.context.images, self.norm)
        delta = delta * (math.sqrt(self.d) if self.norm == "l2" else self.d)
        if t == 1:
            delta = torch.full_like(delta, FIRST_DELTA * bounds.width)
        delta = delta.clamp_min(self.resolution * math.sqrt(self.d))
        counts, total = self.affordable(directions), torch.zeros_like(self.x_t)
        # One seed per step: the draws must not depend on how the batch is cut.
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        draw = min(DIRECTIONS_PER_DRAW, max(1, NUMBERS_PER_DRAW // self.d))
        some = max(1, min(batch_size, NUMBERS_PER_DRAW // self.d) // draw)
        for rows in torch.arange(len(total), device=total.device).split(some):
            stream = torch.Generator().manual_seed(seed)
            part, keys, x_t = self.context.select(rows), self.keys[rows], self.x_t[rows]
            weighted, plain = torch.zeros_like(x_t), torch.zeros_like(x_t)
            positive = torch.zeros_like(counts[rows])
            for first in range(0, int(counts[rows].max()), draw):
                size = (min(draw, directions - first), *shape)
                if self.norm == "l2":
                    u = keys.normal(size, stream)
                else:
                    u = 2 * keys.uniform(size, stream) - 1
                lengths = torch.linalg.vector_norm(u.flatten(2), dim=2)[..., None, None, None]
                step = delta[rows].view(-1, 1, 1, 1, 1)
                probes = bounds.clip(x_t[:, None] + step * u / lengths)
                u = (probes - x_t[:, None]) / step
                number = torch.arange(first, first + size[0], device=u.device)
                asked = number < counts[rows][:, None]
                image = asked.nonzero()[:, 0]
                asking = part.select(image)
                is_adversarial = torch.zeros_like(asked)
                is_adversarial[asked] = asking.is_adversarial(asking.logits(probes[asked]))
                phi = torch.where(is_adversarial, 1, -1) * asked
                weighted += torch.einsum("mb,mbchw->mchw", phi.to(u), u)
                plain += torch.einsum("mb,mbchw->mchw", asked.to(u), u)
                positive += is_adversarial.sum(dim=1)
            mean = 2 * positive.to(plain) / counts[rows] - 1  # φ̄
            # Where all answers are the same they say something, but less the mean nothing.
            mean = torch.where(mean.abs() == 1, 0.0, mean)
            total[rows] = weighted - batch_view(mean) * plain
        self.used = self.used + counts
        return normalize(total, "l2") if self.norm == "l2" else total.sign()

    def jump(self, t: int, v: Tensor) -> None:
        """x̃_t = x_t + ξ v, adversarial after as few halvings of ξ as it takes."""
        xi = distances(self.x_t - self.context.images, self.norm) / math.sqrt(t)
        self.x_tilde, missing = self.x_t, torch.ones_like(xi, dtype=torch.bool)
        for _ in range(1 + HALVINGS):
            candidates = self.context.bounds.clip(self.x_t + batch_view(xi) * v)
            is_adversarial = self._ask(candidates, missing, kept=self.bisections)
            self.x_tilde = torch.where(batch_view(is_adversarial), candidates, self.x_tilde)
            missing, xi = missing & ~is_adversarial, xi / 2
            if not missing.any():
                break

    def _ask(self, candidates: Tensor, wanted: Tensor, kept: int = 0) -> Tensor:
        """Which of the wanted candidates (M,) are adversarial, as far as the queries go.

        kept: queries that must be left.
        """
        asked = (wanted & (self.limit - self.used > kept)).nonzero()[:, 0]
        is_adversarial = torch.zeros_like(wanted)
        if len(asked) > 0:
            part = self.context.select(asked)
            is_adversarial[asked] = part.is_adversarial(part.logits(candidates[asked]))
            self.used = self.used.index_add(0, asked, torch.ones_like(asked))
        return is_adversarial
