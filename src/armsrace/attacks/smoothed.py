"""Gradients estimated from queries alone, behind the face of a differentiable model."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
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
    same directions, so a result does not depend on its batch-mates; and the probes of one forward
    pass serve all its backward passes, so a Jacobian costs no more than a gradient.

    Raises ValueError or TypeError naming the argument and the rule it breaks. Sources: Schott et
    al. 2019 (coordinates); Uesato et al. 2018, Algorithm 1 (SPSA); Ilyas et al. 2018, Algorithm 1
    (NES).

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> blind = attacks.composition.smoothed_gradient(model, estimator="spsa")
    >>> attacks.fgsm(blind, digits.images, digits.labels, epsilon=0.3).success.any(), blind.queries
    (tensor(True), 1616)
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

    def probe(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Directions (P, C·H·W), None for the pixels themselves, and rises of the logits (N, P, K).

        A rise is the difference of the logits on both sides of the image.
        """
        drawn = None if self.estimator == "coordinate" else self._draw(images)
        pixels = images[0].numel()
        places = torch.arange(self.cost(images) // 2, device=images.device)
        rises = []
        for part in places.split(max(1, self.batch_size // (2 * len(images)))):
            units = functional.one_hot(part, pixels) if drawn is None else drawn[part]
            moves = self.spacing * units.to(images.dtype).view(-1, *images.shape[1:])
            pairs = torch.stack([images[:, None] + moves, images[:, None] - moves])
            logits = self.ask(self.bounds.clip(pairs).flatten(0, 2))
            above, below = logits.view(2, len(images), len(part), -1)
            rises.append(above - below)
        return drawn, torch.cat(rises, dim=1)

    def _draw(self, images: Tensor) -> Tensor:
        # All at once and in float32: neither batch size nor dtype may change the numbers.
        shape, place = (self.samples, images[0].numel()), self.generator.device
        drawn = torch.randn(shape, generator=self.generator, device=place)
        return (torch.where(drawn < 0, -1.0, 1.0) if self.estimator == "spsa" else drawn).to(images)

    def widths(self, images: Tensor) -> Tensor:
        """What the sum of (rise · direction) has to be divided by, pixel by pixel (N, C, H, W)."""
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
        ctx.smoothed, ctx.probed = smoothed, None
        return smoothed.ask(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None]:
        (images,) = ctx.saved_tensors
        # A Jacobian takes a backward pass for each class: one set of probes serves all.
        ctx.probed = ctx.probed or ctx.smoothed.probe(images)
        directions, rises = ctx.probed
        total = (rises @ slopes[:, :, None]).squeeze(2)
        total = total if directions is None else total @ directions
        return total.view_as(images) / ctx.smoothed.widths(images), None
