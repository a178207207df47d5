"""Fast minimum-norm: gradient steps inside a ball whose radius follows the decision boundary.

Pintor, Roli, Brendel and Biggio 2021, Algorithm 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.base import PerImage, attack_context, check_start
from armsrace.attacks.black_box.starting_points import nearest_in_balls
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
from armsrace.losses import Loss, check_loss, log_odds
from armsrace.norms import BUDGETED, batch_view, blocked_by_box, distances, normalize, project

DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}
"""q of the dual norm: the least δ with g · δ = L has the p-norm L / ‖g‖_q."""

BISECTIONS = 10
"""Forward passes with which the segment to a starting image is halved, as in the authors' code."""


def fmn(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    steps: int = 100,
    first_alpha: float | None = None,
    last_alpha: float | None = None,
    first_gamma: float = 0.05,
    last_gamma: float = 0.001,
    loss: Loss = log_odds,
    step_norm: Norm | None = None,
    patience: int | None = None,
    start: Tensor | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Gradient steps, each projected onto a ball whose radius ε is near the decision boundary.

    Until the first success ε is where the linearized loss crosses zero. After that it shrinks by
    the fraction γ at each success and grows by γ at each failure. In L0, ε is a number of pixels,
    and changes by at least one.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        norm: p, "linf", "l2", "l1" or "l0". L0 counts a pixel once, with all its channels.
        steps: K, gradient steps.
        first_alpha: α₀, the L2 length of the first step, in pixel units; by default the width of
            the box.
        last_alpha: α_K, the length of the last step; by default α₀ / 100. The lengths fall along
            half a cosine.
        first_gamma: γ₀ < 1, the fraction by which ε changes at first.
        last_gamma: γ_K ≤ γ₀, the fraction at the end. It falls along half a cosine, too.
        loss: what the steps increase, zero at the decision boundary. The paper's is
            `losses.margin`.
        step_norm: "l2" for steps along the gradient, as in the paper, "linf" for steps along its
            signs; by default "linf" in L∞ and "l2" in the others.
        patience: stop an image that has found nothing nearer for so many steps since its first
            success; None takes all steps.
        start: (N, C, H, W), images inside `bounds` where the search begins, on the way from there
            to the clean image; at the clean image by default. One that is not adversarial is not
            used.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The nearest success of all steps; the clean image where there is none.

    Differences from the paper:
        * In L∞, steps go along the signs of the gradient and not along the gradient itself, which
          hardly moves a pixel whose gradient is small. With 100 steps on 30 digits the median
          distance is 0.33 for 0.56 on the network `madry-pgd`, and success 1 for 0.87. Another
          loss, random starting images or longer steps do not cure it (0.52 to 0.54).
        * Outside L0, a step is first clipped to the box, then projected. The paper does it the
          other way round, and what leaves the box then uses up the ball. In L2 on `s3-cnn` the
          median distance is 0.84 for 1.26, and success 1 for 0.63. Projections only shrink
          entries, so the result stays in the box.
        * g is zero where the box blocks it. In L1 on `madry-pgd` success is 1 for 0.93, and in L0
          blocked pixels do not take the places of those that can move.
        * The loss is log((1 − p) / p), not the difference of logits, whose gradient jumps where
          the runner-up class changes.
        * The first ε goes a fraction γ beyond the linearized boundary. Without it, rounding decides
          whether a linear model is ever fooled.
        * In L0, ε counts pixels, not entries of the tensor.
        * A starting image that is not adversarial is passed over; the authors' code refuses it.

    Cost:
        One forward and one backward pass per step, and two forward passes; with `start` another
        eleven forward passes.

    References:
        Pintor, Roli, Brendel and Biggio 2021, "Fast minimum-norm adversarial attacks through
        adaptive norm constraints", Algorithm 1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.fmn(model, digits.images, digits.labels, norm="linf", steps=20)
        >>> evaluation.median_distance(digits.images, found, "linf") < 0.15
        True
    """
    check_choice("norm", norm, (*BUDGETED, "l0"))
    check_count("steps", steps)
    first_alpha = bounds.width if first_alpha is None else first_alpha
    check_at_least("first_alpha", first_alpha, 1e-6)
    last_alpha = first_alpha / 100 if last_alpha is None else last_alpha
    check_at_least("last_alpha", last_alpha, 0)
    check_at_least("first_gamma", first_gamma, 0)
    if first_gamma >= 1:
        raise ValueError(f"first_gamma must be < 1, got {first_gamma:g}")
    check_at_least("last_gamma", last_gamma, 0)
    if last_gamma > first_gamma:
        raise ValueError(f"last_gamma must be <= first_gamma, got {last_gamma:g} > {first_gamma:g}")
    check_loss(loss)
    step_norm = ("linf" if norm == "linf" else "l2") if step_norm is None else step_norm
    check_choice("step_norm", step_norm, ("linf", "l2"))
    if patience is not None:
        check_count("patience", patience)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        if start is not None:
            check_start(start, images, bounds)
        active = (~context.is_adversarial(context.logits(context.images))).nonzero()[:, 0]
        x_adv = context.images.clone()
        queries, gradients = torch.ones_like(labels), torch.zeros_like(labels)
        part, x_k = context.select(active), context.images[active]
        if start is not None and len(active) > 0:
            x_start = start.to(x_k)[active]
            usable = part.is_adversarial(part.logits(x_start))
            x_start = nearest_in_balls(part, x_start, norm, BISECTIONS)
            x_k = torch.where(batch_view(usable), x_start, x_k)
            queries[active] += 1 + BISECTIONS
        state = _State(x_k, part.images, norm, bounds)
        for k in range(steps):
            if len(active) == 0:
                break
            cosine = (1 + math.cos(math.pi * k / steps)) / 2
            alpha = last_alpha + (first_alpha - last_alpha) * cosine
            gamma = last_gamma + (first_gamma - last_gamma) * cosine
            losses, g, is_adversarial = part.loss_grad_and_success(state.x_k, loss)
            queries[active] += 1
            gradients[active] += 1
            g = g.masked_fill(blocked_by_box(g, state.x_k, bounds), 0.0)
            state.update_best(part.images, is_adversarial)
            state.update_epsilon(losses, g, is_adversarial, gamma)
            step = alpha * normalize(g if step_norm == "l2" else g.sign(), "l2")
            # In L0 pixels rank by their whole step, whatever of it the box takes away.
            moved = state.x_k + step if norm == "l0" else bounds.clip(state.x_k + step)
            delta = project(moved - part.images, norm, batch_view(state.epsilon))
            state.x_k = bounds.clip(part.images + delta)
            if patience is not None and (done := state.stalled >= patience).any():
                x_adv[active[done]] = state.best_adv[done]
                state.select(~done)
                active, part = active[~done], part.select(~done)
        # The last iterate has not been judged: it may be the only success.
        x_adv[active] = torch.where(batch_view(state.found), state.best_adv, state.x_k)
        return context.minimal_result(x_adv, queries, gradients)


class _State(PerImage):
    """The iterates x_k (M, C, H, W), their radii ε (M,), and the nearest success of each so far."""

    def __init__(self, x_k: Tensor, x: Tensor, norm: Norm, bounds: Bounds) -> None:
        self.x_k, self.best_adv, self._norm = x_k, x_k, norm
        self._farthest = distances(torch.maximum(x - bounds.lower, bounds.upper - x), norm)
        self.distance = distances(x_k - x, norm)
        self.epsilon = torch.full_like(self.distance, torch.inf)
        if norm == "l0":
            self.epsilon = self.distance.clamp_min(1)
        self.best_distance = torch.full_like(self.distance, torch.inf)
        self.stalled = torch.zeros_like(self.distance, dtype=torch.int64)

    @property
    def found(self) -> Tensor:
        """(M,) bool: one iterate has been adversarial."""
        return self.best_distance.isfinite()

    def update_best(self, x: Tensor, is_adversarial: Tensor) -> None:
        """Keep the iterates that are adversarial (M,) and nearer to x than the best."""
        self.distance = distances(self.x_k - x, self._norm)
        nearer = is_adversarial & (self.distance < self.best_distance)
        self.stalled = torch.where(nearer | ~self.found, 0, self.stalled + 1)
        self.best_distance = torch.where(nearer, self.distance, self.best_distance)
        self.best_adv = torch.where(batch_view(nearer), self.x_k, self.best_adv)

    def update_epsilon(
        self, losses: Tensor, g: Tensor, is_adversarial: Tensor, gamma: float
    ) -> None:
        """ε of Algorithm 1, for a loss (M,) with the gradient g (M, C, H, W)."""
        smaller, larger = self.epsilon * (1 - gamma), self.epsilon * (1 + gamma)
        if self._norm == "l0":
            smaller = torch.minimum(self.epsilon - 1, smaller.floor()).clamp_min(0)
            larger = torch.maximum(self.epsilon + 1, larger.floor())
        else:
            slope = torch.linalg.vector_norm(g.flatten(1), ord=DUAL[self._norm], dim=1)
            to_boundary = losses.abs() / slope.clamp_min(torch.finfo(g.dtype).tiny)
            larger = torch.where(self.found, larger, self.distance + (1 + gamma) * to_boundary)
        smaller = torch.minimum(smaller, self.best_distance)
        self.epsilon = torch.where(is_adversarial, smaller, larger).minimum(self._farthest)
