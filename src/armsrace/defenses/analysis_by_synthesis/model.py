"""The classifier of analysis by synthesis: logits and confidences from each class's explanation.

Schott, Rauber, Bethge and Brendel 2019, §3 and appendix.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from armsrace.contracts import check_at_least, check_choice, check_count, check_images
from armsrace.defenses.analysis_by_synthesis.inference import (
    AdamSearch,
    ClassGenerators,
    Found,
    PriorSamples,
    evidence,
)
from armsrace.defenses.analysis_by_synthesis.levenberg_marquardt import (
    LevenbergMarquardt,
    PolishedSearch,
)

SCALE, FLOOR = 440.0, 3.9e-5
"""Of the modified softmax, in the authors' code: the score's factor, and η."""


@dataclass(frozen=True)
class Explanation:
    """How each class explains each image.

    latents: z (N, K, L). images: G(z) (N, K, C, H, W). costs: ‖x − G(z)‖² + ‖z‖² / 2 (N, K); the
    score is −cost / P, P the pixel values of an image.
    """

    latents: Tensor
    images: Tensor
    costs: Tensor


class AnalysisBySynthesis(nn.Module):
    """Analysis by synthesis: logits from a search for each class's best explanation of an image.

    The gradient in the images is the true one where the search has converged. At an optimum the
    cost does not change, to first order, with the latents (the envelope theorem), nor on the sphere
    that bounds them. So the best latents are constants to autograd, ∇ cost_c(x) = 2 (x − G_c(z)),
    and no step is unrolled. Results are deterministic, each image's by itself.

    Args:
        generators: K of them, such as `ClassDecoders(zoo.load("abs"))`, in whose dtype latents are
            searched.
        inference: "adam" is the paper's: the best of the samples of the prior, then 50 steps of
            Adam. "exact" goes on from there to an optimum, by eight steps of Levenberg–Marquardt:
            for bounds, and for gradients that hold. "adam" by default.
        search: another search; then `inference` must be left out.
        samples: of the prior, drawn and decoded once, when the model is built; or those of another
            model of the same generators, shared.
        scale: of the logits, scale · score.
        floor: η of `confidences`.
        batch_size: images searched for at once; what 25 need stays in the processor's cache.
        generator: where samples are drawn from; a new one seeded 0 by default.

    Cost:
        With "adam" 51 forward and 50 backward passes of all K decoders per image, and a product
        with all samples; "exact" takes less than twice as long.

    References:
        Schott, Rauber, Bethge and Brendel 2019, §3 and appendix.

    Example:
        >>> from armsrace.models.abs_vae import ClassDecoders
        >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
        >>> model(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
    """

    def __init__(
        self,
        generators: ClassGenerators,
        *,
        inference: Literal["adam", "exact"] | None = None,
        search: AdamSearch | LevenbergMarquardt | PolishedSearch | None = None,
        samples: int | PriorSamples = 8000,
        scale: float = SCALE,
        floor: float = FLOOR,
        batch_size: int = 25,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if inference is not None:
            check_choice("inference", inference, ("adam", "exact"))
            if search is not None:
                raise ValueError(f"inference must be None with a search, got {inference!r}")
        check_at_least("scale", scale, 1e-9)
        check_at_least("floor", floor, 0)
        check_count("batch_size", batch_size)
        default = PolishedSearch() if inference == "exact" else AdamSearch()
        self.generators, self.search = generators, search or default
        if not isinstance(samples, PriorSamples):
            samples = PriorSamples(generators, samples, generator)
        self.samples = samples
        self.scale, self.floor, self.batch_size = scale, floor, batch_size

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K): scale · score, images (N, C, H, W) in [0, 1].

        Not the logarithms of `confidences`: those are equal, in float32, where η outweighs all.
        """
        return -self.scale / images[0].numel() * self.costs(images)

    def costs(self, images: Tensor) -> Tensor:
        """‖x − G(z)‖² + ‖z‖² / 2 (N, K) at the best latents, which are constants to autograd."""
        found = self.infer(images)
        x, z = images.flatten(1)[:, None], found.latents.to(images.dtype)
        error = (x - found.images.to(images.dtype)).square().sum(dim=2)
        return evidence(error, z.square().sum(dim=2))

    def confidences(self, images: Tensor) -> Tensor:
        """The modified softmax (N, K): (e^logit + η) / Σ (e^logit + η), η the floor.

        Nothing explains an image far from all digits, and no class is then confident.
        """
        return floored_softmax(self(images), self.floor)

    def explain(self, images: Tensor) -> Explanation:
        """The best latents found for images (N, C, H, W), their reconstructions and their costs."""
        found = self.infer(images)
        reconstructions = found.images.unflatten(2, images.shape[1:])
        return Explanation(found.latents, reconstructions, found.values)

    def infer(self, images: Tensor) -> Found:
        """As `explain`, with flat images in the generators' dtype, and without a gradient."""
        check_images(images)
        pixels = self.samples.images.shape[2]
        if images[0].numel() != pixels:
            raise ValueError(f"images must have {pixels} pixels, got {tuple(images.shape[1:])}")
        with torch.inference_mode(False), torch.no_grad():
            flat = images.detach().clone().flatten(1).to(self.samples.images.dtype)
            parts = [
                self.search(self.generators, part, self.samples.best(part, self.search.starts))
                for part in flat.split(self.batch_size)
            ]
            return Found(
                torch.cat([part.latents for part in parts]),
                torch.cat([part.images for part in parts]),
                torch.cat([part.values for part in parts]),
            )

    def found(self, images: Tensor) -> Found:
        """The old name of `infer`."""
        message = "AnalysisBySynthesis.found is now infer; the old name leaves in the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.infer(images)


def floored_softmax(logits: Tensor, floor: float = FLOOR) -> Tensor:
    """(e^logit + η) / Σ (e^logit + η), of logits at most 0, (N, K); η = 0 is the softmax."""
    if floor == 0:
        return logits.softmax(dim=1)
    return torch.logaddexp(logits, torch.full_like(logits, math.log(floor))).softmax(dim=1)
