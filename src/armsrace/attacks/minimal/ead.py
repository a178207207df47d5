"""EAD: elastic-net attacks, Carlini and Wagner's L2 attack with an L1 norm in its objective.

Chen, Sharma, Zhang, Yi and Hsieh 2018, Algorithm 1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from armsrace.attacks.base import PerImage, attack_context, checked_grad
from armsrace.attacks.carlini_wagner.common import (
    ConstantSearch,
    Progress,
    Search,
    check_options,
)
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_choice,
    check_count,
)
from armsrace.norms import batch_view, distances


def ead(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    targets: Tensor | None = None,
    rule: Literal["l1", "en"] = "l1",
    beta: float = 1e-2,
    confidence: float = 0.0,
    binary_search_steps: int = 9,
    steps: int = 1000,
    step_size: float = 0.01,
    initial_constant: float = 1e-3,
    abort_early: bool = True,
    bounds: Bounds = UNIT,
) -> AttackResult:
    """Minimize c · f(x) + ‖x − x₀‖₂² + β ‖x − x₀‖₁ with FISTA, for the smallest c that succeeds.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        targets: (N,) int64 wanted classes.
        rule: which success is the nearest: "l1" by ‖x − x₀‖₁, "en" by the elastic net
            ‖x − x₀‖₂² + β ‖x − x₀‖₁.
        beta: β, the weight of L1. A pixel whose change is at most β in a step is set back. Lengths
            count in widths of the box.
        confidence: κ, the margin in logits by which the wanted class, or without targets any
            wrong one, must lead.
        binary_search_steps: how many constants c are tried per image.
        steps: FISTA steps for each c, at most.
        step_size: α₀ of the first step; step k of K has α₀ √(1 − k / K).
        initial_constant: the first c, multiplied by ten until one succeeds.
        abort_early: stop the first c that succeeds at once, and later ones when a quarter of the
            steps brought no nearer success. Before there is one, stop a c when a twentieth of the
            steps lowered the loss by less than 1 %.
        bounds: the box of valid pixels, kept after each step.

    Returns:
        The nearest success of all steps by the rule; the clean image where none reaches κ.

    Differences from the paper:
        * The model is asked once per step, at y⁽ᵏ⁾, whose success is judged. The paper's f is
          differentiated at y⁽ᵏ⁾ and x⁽ᵏ⁾ is judged, which takes another forward pass. y⁽ᵏ⁾ is
          clipped to the box, and a pixel that was set back has no momentum: y⁽ᵏ⁾ is as sparse as
          x⁽ᵏ⁾.
        * A new c continues from the best image found, or from where the last c failed.
        * Each image has its own c, progress and stopping time, as in `carlini_wagner_l2`. All steps
          for each c would take 2.4 times the passes and come 2 % nearer (s3-cnn, 20 digits).

    Cost:
        One forward and one backward pass per step, only for unfinished images; one more of each at
        the start, and one forward pass at the end.

    References:
        Chen, Sharma, Zhang, Yi and Hsieh 2018, "EAD: elastic-net attacks to deep neural networks
        via adversarial examples", Equation 7, Algorithm 1.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.ead(model, digits.images, digits.labels, steps=50)
        >>> evaluation.median_distance(digits.images, found, "l1") < 10
        True
    """
    check_options(confidence, steps, step_size, initial_constant, None)
    check_count("binary_search_steps", binary_search_steps)
    check_choice("rule", rule, ("l1", "en"))
    check_at_least("beta", beta, 0)
    with attack_context(model, images, labels, targets, bounds) as context:
        width = bounds.width
        search = Search(context, confidence)
        fista = _Fista(search.clean, bounds, beta, step_size, steps)
        constant = ConstantSearch(search.best_distance, initial_constant, binary_search_steps)
        progress = Progress(search.best_distance, steps, gain=0.01 if abort_early else None)
        stall = _Stall(search.best_distance, steps)
        while len(search.indices):
            with torch.enable_grad():
                y = fista.y.clone().requires_grad_()
                l2 = ((y - search.clean) / width).square().flatten(1).sum(dim=1)
                f = search.f(search.logits(y))
                g = l2 + constant.c * f
                grad = checked_grad(g.sum(), y)
            is_adversarial = f == 0
            l1 = distances((fista.y - search.clean) / width, "l1")
            search.update_best(fista.y, is_adversarial, l1 if rule == "l1" else l2 + beta * l1)
            fista.step(grad, search.clean)
            done = progress.should_stop(g + beta * l1, is_adversarial, fista.counts)
            if abort_early:
                # Near the boundary the loss goes up and down: only the best distance tells.
                done = torch.where(
                    constant.no_success_yet, done | is_adversarial,
                    stall.should_stop(search.best_distance) | (fista.counts == steps),
                )  # fmt: skip
            if done.any():
                found = batch_view(search.best_distance.isfinite())
                fista.restart(done, torch.where(found, search.best_adv, fista.x))
                stall.waited[done] = 0
                active = constant.next_constant(done, progress.recently_adversarial)
                for part in (search, fista, constant, progress, stall):
                    part.select(active)
        return search.result()


class _Stall(PerImage):
    """The steps (M,) since a c or its nearest success was new."""

    def __init__(self, like: Tensor, steps: int) -> None:
        self.before, self.waited = like, torch.zeros_like(like)
        self._patience = steps / 4

    def should_stop(self, best_distance: Tensor) -> Tensor:
        """(M,) bool: no success came nearer in a quarter of the steps."""
        self.waited = torch.where(best_distance < self.before, 0, self.waited + 1)
        self.before = best_distance
        return self.waited >= self._patience


class _Fista(PerImage):
    """FISTA (Beck and Teboulle 2009) as in Algorithm 1: x⁽ᵏ⁾ and y⁽ᵏ⁾ (M, C, H, W)."""

    def __init__(
        self, x_0: Tensor, bounds: Bounds, beta: float, step_size: float, steps: int
    ) -> None:
        self.x, self.y = x_0.clone(), x_0.clone()
        self.counts = torch.zeros(len(x_0), dtype=torch.int64, device=x_0.device)
        self._bounds, self._beta, self._step_size, self._steps = bounds, beta, step_size, steps

    def step(self, grad: Tensor, x_0: Tensor) -> None:
        """A step down the gradient of g, the shrinkage S_β (Equation 5), and the momentum."""
        width = self._bounds.upper - self._bounds.lower
        k = batch_view(self.counts).to(grad)
        alpha = self._step_size * (1 - k / self._steps).sqrt()
        z = self.y - alpha * width**2 * grad - x_0
        shrunk = z.sign() * (z.abs() - width * self._beta).clamp_min(0)
        x = self._bounds.clip(x_0 + shrunk)
        y = self._bounds.clip(x + k / (k + 3) * (x - self.x))
        self.y = torch.where(x == x_0, x, y)
        self.x = x
        self.counts += 1

    def restart(self, which: Tensor, x: Tensor) -> None:
        """Restart, with no momentum, at x (M, C, H, W) where `which` (M,) is True."""
        self.x[which], self.y[which], self.counts[which] = x[which], x[which], 0
