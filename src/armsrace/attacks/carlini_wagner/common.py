"""What the three Carlini–Wagner attacks share: the change of variable, the search, and c.

Carlini and Wagner 2017: §V-A and §VI-A (the objective f), §V-B (the change of variable). Each image
has its own Adam, its own constant and its own stopping time, so that a result does not depend on
the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, PerImage, PerImageAdam
from armsrace.contracts import AttackResult, Bounds, check_at_least, check_count
from armsrace.losses import Loss, margin
from armsrace.norms import batch_view

# The box ends at tanh(w) = ±0.99. At the authors' 0.999999 a pixel at exactly 0 or 1 barely moves:
# about 700 steps of 0.01 before the change is visible. At 1 it never moves, because w is infinite.
EDGE = 0.99


def check_options(
    confidence: float, steps: int, step_size: float, initial_constant: float, levels: int | None
) -> None:
    """Check what all three take; errors name the argument and the rule."""
    check_at_least("confidence", confidence, 0)
    check_count("steps", steps)
    check_at_least("step_size", step_size, 1e-6)
    check_at_least("initial_constant", initial_constant, 1e-12)
    if levels is not None:
        check_count("levels", levels, 2)


def with_values(carrier: Tensor, values: Tensor) -> Tensor:
    """Return `values`, with the gradient of `carrier`: the difference added is exactly zero."""
    return values.detach() + (carrier - carrier.detach())


class TanhAdam(PerImageAdam):
    """The change of variable and its optimizer: Adam on w (§V-B).

    A pixel is middle + width / 2 · tanh(w) / 0.99, where middle and width are those of the box.

    tanh(w) is held between −0.99 and 0.99: the ends of the box can be reached and left, and are
    never exceeded. With `levels` the images are rounded to this many pixel
    values, and the gradient passes through the rounding.
    """

    def __init__(
        self, images: Tensor, bounds: Bounds, step_size: float, levels: int | None = None
    ) -> None:
        self._bounds, self._levels = bounds, levels
        super().__init__(self._w(images), step_size)

    def x_adv(self, w: Tensor) -> Tensor:
        """The images (M, C, H, W) that w stands for."""
        unit = w.tanh() / (2 * EDGE) + 0.5
        if self._levels is not None:
            unit = with_values(unit, (unit * (self._levels - 1)).round() / (self._levels - 1))
        images = self._bounds.lower + self._bounds.width * unit
        return with_values(images, self._bounds.clip(images))

    def step(self, grad: Tensor, step_size: Tensor | None = None) -> None:
        """One step down the gradient (M, C, H, W) in w."""
        super().step(grad, step_size)
        self.x.clamp_(-math.atanh(EDGE), math.atanh(EDGE))

    def restart(self, which: Tensor, x: Tensor) -> None:
        """Restart at images x (M, C, H, W) where `which` (M,) is True."""
        super().restart(which, self._w(x))

    def _w(self, images: Tensor) -> Tensor:
        middle = (self._bounds.lower + self._bounds.upper) / 2
        half = self._bounds.width / 2
        return ((images - middle) * (EDGE / half)).clamp(-EDGE, EDGE).atanh()


class Search:
    """The M images under search: their f, the passes they took, and the nearest success of each.

    indices (M,): their indices in the input batch. clean (M, C, H, W): as given. best_adv
    (M, C, H, W): the nearest success, else the clean image. best_distance (M,): its distance as
    `update_best` was given it, else infinity. The L2 attack gives it ‖x′ − x‖₂², in widths of the
    box. required_margin (M,): κ, and what rounding takes: the final pass may round differently in a
    batch of another size.
    """

    def __init__(self, context: AttackContext, confidence: float) -> None:
        # With the gradient, which refuses a model that has none before the search begins.
        margins, _ = context.loss_and_grad(context.images, margin)
        self._whole, self._part = context, context
        self._results = context.images.clone()
        self._passes = torch.ones_like(context.labels)
        self.indices = torch.arange(len(margins), device=margins.device)
        self.clean, self.best_adv = context.images, context.images
        self.best_distance = torch.full_like(margins, torch.inf)
        # A network in half precision adds in float32, and rounds its logits a few times.
        dtype = context.dtype or margins.dtype
        errors = 64 if dtype == margins.dtype else 4
        rounding = errors * torch.finfo(dtype).eps * (1 + margins.abs())
        self.required_margin = confidence + rounding
        self.select((margins <= 0) | (margins < confidence))

    def logits(self, x_adv: Tensor) -> Tensor:
        """Logits (M, K); one more pass for each image."""
        self._passes[self.indices] += 1
        return self._part.logits(x_adv)

    def loss_and_grad(self, x_adv: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """The loss (M,) and its gradient (M, C, H, W) in the images; one more pass each."""
        self._passes[self.indices] += 1
        return self._part.loss_and_grad(x_adv, loss)

    def f(self, logits: Tensor) -> Tensor:
        """max(max_{i≠t} Z_i − Z_t + κ, 0) (M,): f of §VI-A plus κ, and at κ = 0 f₆ itself.

        The paper's f is max(max_{i≠t} Z_i − Z_t, −κ). Adding κ changes no gradient, and makes 0 the
        value of success. κ is in `required_margin`. Without targets, max_{i≠y} Z_i replaces Z_t,
        and Z_y replaces the best other class.
        """
        return (self.required_margin - self._part.adversarial_loss(logits, margin)).clamp_min(0)

    def update_best(self, x_adv: Tensor, is_adversarial: Tensor, distance: Tensor) -> None:
        """Keep the images (M, C, H, W) that are adversarial (M,) and nearer (M,) than the best."""
        nearer = is_adversarial & (distance < self.best_distance)
        self.best_distance = torch.where(nearer, distance, self.best_distance).detach()
        self.best_adv = torch.where(batch_view(nearer), x_adv, self.best_adv).detach()

    def select(self, active: Tensor) -> None:
        """Keep searching only for the images chosen by a bool mask; what the others found stays."""
        self._results[self.indices] = self.best_adv
        self._part = self._part.select(active)
        self.indices, self.clean = self.indices[active], self.clean[active]
        self.best_adv, self.best_distance = self.best_adv[active], self.best_distance[active]
        self.required_margin = self.required_margin[active]

    def result(self) -> AttackResult:
        """What was found, judged by one more pass; the clean image where nothing was."""
        self._results[self.indices] = self.best_adv
        return self._whole.minimal_result(self._results, self._passes, self._passes)


class ConstantSearch(PerImage):
    """The constant c (M,) of each image: tenfold until one succeeds, then bisection.

    like (M,): c gets its shape, dtype and device. Its values are not used.
    """

    def __init__(self, like: Tensor, initial: float, steps: int) -> None:
        self.c = torch.full_like(like, initial)
        self._steps, self._tried = steps, torch.zeros_like(like, dtype=torch.int64)
        self._lower, self._upper = torch.zeros_like(like), torch.full_like(like, torch.inf)

    @property
    def no_success_yet(self) -> Tensor:
        """(M,) bool: no constant has succeeded yet."""
        return self._upper.isinf()

    def next_constant(self, done: Tensor, succeeded: Tensor) -> Tensor:
        """Give those that are done (M,) another c; returns (M,) bool: which have one to try."""
        self._upper = torch.where(done & succeeded, self.c, self._upper)
        self._lower = torch.where(done & ~succeeded, self.c, self._lower)
        bisected = (self._lower + self._upper) / 2
        next_c = torch.where(self._upper.isinf(), 10 * self.c, bisected)
        self.c = torch.where(done, next_c, self.c)
        self._tried += done
        return self._tried < self._steps


class Progress(PerImage):
    """When to stop minimizing for the current c: the authors' `abort_early`, but per image.

    The loss is compared once in a window of steps: a twentieth of them (theirs: a tenth), and at
    least ten. recently_adversarial (M,) bool: adversarial in the last half of a window. An image
    that was adversarial only early in the window does not count. like (M,): of the losses' shape,
    dtype and device; its values are not used.
    """

    def __init__(self, like: Tensor, steps: int, gain: float | None) -> None:
        self._steps, self._window, self._gain = steps, max(10, steps // 20), gain
        self._before = like
        self.recently_adversarial = torch.zeros_like(like, dtype=torch.bool)

    def should_stop(self, loss: Tensor, is_adversarial: Tensor, counts: Tensor) -> Tensor:
        """(M,) bool: all steps are taken, or the last window gained less than the fraction `gain`.

        loss (M,), is_adversarial (M,) now; counts (M,): of steps taken. Without a gain only the
        steps count.
        """
        loss = loss.detach()
        first, over = counts == 1, counts % self._window == 0
        keeps = ~first & (counts % self._window != self._window // 2)
        self.recently_adversarial = (self.recently_adversarial & keeps) | is_adversarial
        before = torch.where(first, loss, self._before)
        self._before = torch.where(over, loss, before)
        stalled = over & (loss > (1 - (self._gain or 0)) * before)
        return (counts == self._steps) | (stalled & (self._gain is not None))
