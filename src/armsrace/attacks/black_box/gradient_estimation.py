"""Estimating a gradient from scores: finite differences, SPSA and NES.

An estimator probes the model on both sides of an image, along P directions u:

    ∇Z ≈ (1 / width) Σ_u [Z(x + h u) − Z(x − h u)] u

The estimators differ only in the directions: one pixel at a time (Schott et al. 2019), random signs
(SPSA, Uesato et al. 2018), or Gaussian noise (NES, Ilyas et al. 2018). `estimated_gradient` gives
a model such a gradient, and `finite_difference` runs PGD on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from armsrace.attacks.base import call_model, rejects, rows_per_pass
from armsrace.attacks.gradient.pgd import pgd
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    Norm,
    check_choice,
    check_count,
    check_images,
)
from armsrace.losses import Loss, cross_entropy
from armsrace.randomness import default_generator

Estimator = Literal["coordinate", "spsa", "nes"]
BATCH_SIZE = 1024
# h in widths of the box. Schott et al.'s for "coordinate", Uesato et al.'s for "spsa".
SPACINGS: dict[Estimator, float] = {"coordinate": 0.1, "spsa": 0.01, "nes": 0.01}


def finite_difference(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    norm: Norm = "linf",
    steps: int = 20,
    step_size: float | None = None,
    estimator: Estimator = "spsa",
    samples: int = 100,
    spacing: float | None = None,
    queries: int | None = None,
    batch_size: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    loss: Loss = cross_entropy,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """PGD without a random start, on a gradient estimated from scores.

    Args:
        model: images to logits (N, K); it need not be differentiable.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        epsilon: the budget in pixel units of `norm`; a tensor (N,) gives each image its own.
        norm: "linf", "l2" or "l1".
        steps: steps, each with a new estimate; all are taken.
        step_size: in pixel units; 2.5 · epsilon / steps by default.
        estimator, samples, spacing, batch_size: how the gradient is estimated, as for
            `estimated_gradient`.
        queries: forward passes per image at most; so many steps are taken as fit, of which the
            first must. No limit by default.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels, kept by each step and each probe.
        loss: the loss of each image.
        generator: the source of the directions; a new one seeded 0 by default.

    Returns:
        The last iterate per image, as `pgd`.

    Differences from the paper:
        * Uesato et al. descend with Adam. Here the steps are those of PGD, so that the attack
          differs from it only in the gradient.

    Cost:
        Per step and image, 1 + 2 · samples forward passes, or 1 + 2 · C · H · W with
        estimator="coordinate". No backward pass.

    References:
        * Uesato, O'Donoghue, Kohli and van den Oord 2018, "Adversarial risk and the dangers of
          evaluating against weak attacks", Algorithm 1 (SPSA).
        * Ilyas, Engstrom, Athalye and Lin 2018, "Black-box adversarial attacks with limited
          queries and information", Algorithm 1 (NES).
        * Schott, Rauber, Bethge and Brendel 2019, §4 (coordinates).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> found = attacks.finite_difference(
        ...     model, digits.images, digits.labels, epsilon=0.2, steps=5
        ... )
        >>> found.queries[0], found.gradients[0]
        (tensor(1006), tensor(0))
    """
    estimated = estimated_gradient(
        model, estimator=estimator, samples=samples, spacing=spacing, bounds=bounds,
        generator=generator, batch_size=batch_size,
    )  # fmt: skip
    if queries is not None:
        check_count("steps", steps)
        check_images(images, bounds)
        cost = 1 + estimated.cost(images)
        check_count("queries", queries, 1 + cost)
        steps = min(steps, (queries - 1) // cost)
    result = pgd(
        estimated, images, labels, epsilon=epsilon, steps=steps, step_size=step_size, norm=norm,
        random_start=False, targets=targets, bounds=bounds, loss=loss,
    )  # fmt: skip
    used = result.queries + steps * estimated.cost(images)
    return replace(result, queries=used, gradients=torch.zeros_like(result.gradients))


def estimated_gradient(
    model: Model,
    *,
    estimator: Estimator = "coordinate",
    samples: int = 100,
    spacing: float | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> EstimatedGradient:
    """The model with a gradient estimated from its scores, for any attack that follows gradients.

    All images of a batch are probed along the same directions, so a result does not depend on the
    rest of the batch.

    Args:
        model: images (N, C, H, W) to logits (N, K); it need not be differentiable.
        estimator: "coordinate" moves one pixel value at a time; "spsa" moves all at once, each up
            or down by the spacing; "nes" moves all at once, by Gaussian noise.
        samples: directions per gradient, for "spsa" and "nes"; each is probed on both sides.
        spacing: the distance h of a probe in each pixel that it moves, in pixel units (for "nes"
            the standard deviation); by default 0.1 of the box for "coordinate" and 0.01 of it for
            the others.
        bounds: the box of valid pixels, which no probe leaves.
        generator: the source of the directions; a new one seeded 0 by default.
        batch_size: the largest number of probes sent at once, but at least two of each image. By
            default 1,024, and of large images as many as have 4 million values.

    Returns:
        A module with the model's logits. Its `queries` counts every image sent, probes included;
        an attack on it counts only the images that it sends itself.

    Differences from the paper:
        * The differences are those of the logits, not of the loss, whose own gradient is known.
          Where p(y) rounds to 1 the loss would not change.
        * Probes are clipped to the box, and the estimate allows for it. So all three are exact (in
          the mean) on a linear model, and "coordinate" also on a quadratic one away from the ends
          of the box.

    Cost:
        2 · samples forward passes per gradient and image, or 2 · C · H · W with
        estimator="coordinate". The probes of one forward pass serve all its backward passes: a
        Jacobian costs no more than a gradient.

    References:
        * Schott, Rauber, Bethge and Brendel 2019, §4 (coordinates).
        * Uesato, O'Donoghue, Kohli and van den Oord 2018, Algorithm 1 (SPSA).
        * Ilyas, Engstrom, Athalye and Lin 2018, Algorithm 1 (NES).

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> blind = attacks.estimated_gradient(model, estimator="spsa")
        >>> found = attacks.fgsm(blind, digits.images, digits.labels, epsilon=0.3)
        >>> found.success.any(), blind.queries
        (tensor(True), 1616)
    """
    check_choice("estimator", estimator, tuple(SPACINGS))
    check_count("samples", samples)
    if batch_size is not None:
        check_count("batch_size", batch_size)
    spacing = SPACINGS[estimator] * bounds.width if spacing is None else spacing
    if not 0 < spacing < torch.inf:
        raise ValueError(f"spacing must be > 0, got {spacing:g}")
    generator = default_generator(generator)
    return EstimatedGradient(model, estimator, samples, spacing, bounds, generator, batch_size)


class EstimatedGradient(nn.Module):
    """A model with an estimated gradient, as from `estimated_gradient`.

    queries: the images that the model has seen so far.
    """

    def __init__(
        self, model: Model, estimator: Estimator, samples: int, spacing: float, bounds: Bounds,
        generator: torch.Generator, batch_size: int | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.last_class_rejects = rejects(model)
        self.model, self.estimator, self.samples, self.spacing = model, estimator, samples, spacing
        self.bounds, self.generator, self.batch_size = bounds, generator, batch_size
        self.queries = 0

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) inside the bounds to the model's logits (N, K)."""
        check_images(images, self.bounds)
        return _EstimatedBackward.apply(images, self)

    def cost(self, images: Tensor) -> int:
        """The queries that the gradient of one image costs, beside the image's own."""
        return 2 * (images[0].numel() if self.estimator == "coordinate" else self.samples)

    def logits(self, images: Tensor) -> Tensor:
        """The model's logits, counted."""
        self.queries += len(images)
        return call_model(self.model, images)

    def probe(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Directions u (P, C·H·W) and differences Z(x + h u) − Z(x − h u) (N, P, K).

        The directions of "coordinate" are None: they would be the identity matrix.
        """
        directions = None if self.estimator == "coordinate" else self._random_directions(images)
        indices = torch.arange(self.cost(images) // 2, device=images.device)
        differences = []
        at_once = rows_per_pass(images, self.batch_size, BATCH_SIZE)
        for part in indices.split(max(1, at_once // (2 * len(images)))):
            if directions is None:
                u = functional.one_hot(part, images[0].numel())
            else:
                u = directions[part]
            hu = self.spacing * u.to(images.dtype).view(-1, *images.shape[1:])
            probes = torch.stack([images[:, None] + hu, images[:, None] - hu])
            logits = self.logits(self.bounds.clip(probes).flatten(0, 2))
            above, below = logits.view(2, len(images), len(part), -1)
            differences.append(above - below)
        return directions, torch.cat(differences, dim=1)

    def _random_directions(self, images: Tensor) -> Tensor:
        """Signs or Gaussian noise (P, C·H·W), the same for all images."""
        # All at once and in float32: neither batch size nor dtype may change the numbers.
        shape, device = (self.samples, images[0].numel()), self.generator.device
        u = torch.randn(shape, generator=self.generator, device=device, dtype=torch.float32)
        return (torch.where(u < 0, -1.0, 1.0) if self.estimator == "spsa" else u).to(images)

    def width(self, images: Tensor) -> Tensor:
        """What Σ_u difference · u has to be divided by, pixel by pixel (N, C, H, W)."""
        low, high, h = self.bounds.lower, self.bounds.upper, self.spacing
        if self.estimator == "nes":
            # Stein's lemma: E[u clip(x + h u)] is h times the probability that nothing is clipped.
            below_end = [torch.special.ndtr((end - images) / h) for end in (high, low)]
            return 2 * h * self.samples * (below_end[0] - below_end[1])
        width = self.bounds.clip(images + h) - self.bounds.clip(images - h)
        return width if self.estimator == "coordinate" else width * self.samples


class _EstimatedBackward(Function):
    """The model's logits forward; backward, the estimate in place of the model's own gradient."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, estimate: EstimatedGradient) -> Tensor:
        ctx.save_for_backward(images)
        ctx.estimate, ctx.probes = estimate, None
        return estimate.logits(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logits: Tensor) -> tuple[Tensor, None]:
        (images,) = ctx.saved_tensors
        # A Jacobian takes a backward pass per class: one set of probes serves all.
        ctx.probes = ctx.probes or ctx.estimate.probe(images)
        directions, differences = ctx.probes
        grad = (differences @ grad_logits[:, :, None]).squeeze(2)
        grad = grad if directions is None else grad @ directions
        return grad.view_as(images) / ctx.estimate.width(images), None
