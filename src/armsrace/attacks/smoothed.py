"""Gradients estimated from queries alone, behind the face of a differentiable model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from armsrace.attacks.randomness import default_generator
from armsrace.contracts import UNIT, Bounds, Model, check_choice, check_count, check_images

Estimator = Literal["coordinate", "spsa", "nes"]
SPACINGS: dict[Estimator, float] = {"coordinate": 0.1, "spsa": 0.01, "nes": 0.01}


def smoothed_gradient(
    model: Model,
    *,
    estimator: Estimator = "coordinate",
    samples: int = 100,
    spacing: float | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
    batch_size: int = 1024,
) -> SmoothedGradient:
    """The model with a gradient estimated from its answers on both sides of the images.

    Args:
        model: images (N, C, H, W) to logits (N, K); it need not be differentiable.
        estimator: "coordinate" moves one pixel value at a time; "spsa" all at once, each up or
            down by the spacing; "nes" all at once, by Gaussian noise.
        samples: directions a gradient, for "spsa" and "nes"; each is probed on both sides.
        spacing: how far a probe is from the image in each pixel it moves, in pixel units (the
            standard deviation for "nes"); by default 0.1, Schott et al.'s, for "coordinate", and
            0.01 for the two others, which is Uesato et al.'s for "spsa".
        bounds: the box of valid pixels, which no probe leaves.
        generator: where the directions come from; a new one seeded 0 by default.
        batch_size: probes sent at once, at most, where there are fewer images than that.

    Gives: a module with the model's logits, so that any attack that follows gradients needs
    answers only. Its `queries` counts every image sent, probes too: an attack on it counts only
    the images that it sends itself. Differences are taken of the logits, not of the loss, whose
    own slope is known: where p(y) rounds to 1 the loss would not change. A probe that the box cuts
    short is allowed for, so all three stay exact (in the mean) on a linear model, and "coordinate"
    on a quadratic one where the box is not in the way. All images of a batch are probed in the
    same directions, so a result does not depend on its batch-mates, and equal neighbours, such as
    the copies of which DeepFool asks one class each, are probed once.

    Raises ValueError or TypeError naming the argument and the rule it breaks. Sources: Schott et
    al. 2019 (coordinates); Uesato et al. 2018, Algorithm 1 (SPSA); Ilyas et al. 2018, Algorithm 1
    (NES).
    """
    check_choice("estimator", estimator, tuple(SPACINGS))
    check_count("samples", samples)
    check_count("batch_size", batch_size)
    spacing = SPACINGS[estimator] if spacing is None else spacing
    if not 0 < spacing < torch.inf:
        raise ValueError(f"spacing must be > 0, got {spacing:g}")
    generator = default_generator(generator)
    return SmoothedGradient(model, estimator, samples, spacing, bounds, generator, batch_size)


class SmoothedGradient(nn.Module):
    """What `smoothed_gradient` gives. queries: images that the model has seen so far."""

    def __init__(
        self, model: Model, estimator: Estimator, samples: int, spacing: float, bounds: Bounds,
        generator: torch.Generator, batch_size: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model, self.estimator, self.samples, self.spacing = model, estimator, samples, spacing
        self.bounds, self.generator, self.batch_size = bounds, generator, batch_size
        self.queries = 0

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) inside the bounds to the model's logits (N, K)."""
        check_images(images, self.bounds)
        return _Estimated.apply(images, self)

    def cost(self, images: Tensor) -> int:
        """Queries that the gradient of one image costs, beside the image's own."""
        return 2 * (images[0].numel() if self.estimator == "coordinate" else self.samples)

    def ask(self, images: Tensor) -> Tensor:
        """The model's logits, counted."""
        self.queries += len(images)
        return self.model(images)

    def estimate(self, images: Tensor, slopes: Tensor) -> Tensor:
        """The gradient (N, C, H, W) of Σ slopes · logits, slopes (N, K)."""
        distinct, place = images.unique_consecutive(return_inverse=True, dim=0)
        total = torch.zeros_like(images).flatten(1)
        for directions in self._directions(images):
            moves = self.spacing * directions.view(-1, *images.shape[1:])
            pairs = torch.stack([distinct[:, None] + moves, distinct[:, None] - moves], dim=1)
            logits = self.ask(self.bounds.clip(pairs).flatten(0, 2))
            above, below = logits.view(len(distinct), 2, len(moves), -1).unbind(dim=1)
            rises = (above - below)[place] @ slopes[:, :, None]
            total += rises.squeeze(2) @ directions
        return total.view_as(images) / self._widths(images)

    def _directions(self, images: Tensor) -> Iterator[Tensor]:
        # Drawn in one go, and in float32: neither batch size nor dtype may change the numbers.
        count, pixels = self.samples, images[0].numel()
        at_once = max(1, self.batch_size // (2 * len(images)))
        if self.estimator == "coordinate":
            for places in torch.arange(pixels, device=images.device).split(at_once):
                yield functional.one_hot(places, pixels).to(images.dtype)
            return
        drawn = torch.randn((count, pixels), generator=self.generator, device=self.generator.device)
        if self.estimator == "spsa":
            drawn = torch.where(drawn < 0, -1.0, 1.0)
        yield from drawn.to(images).split(at_once)

    def _widths(self, images: Tensor) -> Tensor:
        """What the sum of (rise · direction) has to be divided by, pixel by pixel."""
        low, high, spacing = self.bounds.lower, self.bounds.upper, self.spacing
        if self.estimator == "nes":
            # Stein's lemma: E[ξ clip(x + σξ)] is σ times the chance that nothing is clipped.
            inside = [torch.special.ndtr((end - images) / spacing) for end in (high, low)]
            return 2 * spacing * self.samples * (inside[0] - inside[1])
        width = self.bounds.clip(images + spacing) - self.bounds.clip(images - spacing)
        return width if self.estimator == "coordinate" else width * self.samples


class _Estimated(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, smoothed: SmoothedGradient) -> Tensor:
        ctx.save_for_backward(images)
        ctx.smoothed = smoothed
        return smoothed.ask(images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (images,) = ctx.saved_tensors
        with torch.no_grad():
            return ctx.smoothed.estimate(images, gradients[0]), None
