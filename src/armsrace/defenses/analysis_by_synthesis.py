"""Analysis by synthesis: the class is the one whose generative model explains the image best.

Schott, Rauber, Bethge and Brendel 2019, "Towards the first adversarially robust neural network
model on MNIST".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from armsrace.contracts import check_at_least, check_choice, check_count, check_images
from armsrace.defenses.class_search import AdamSearch, Found
from armsrace.defenses.levenberg_marquardt import LevenbergMarquardt, PolishedSearch
from armsrace.defenses.prior_samples import ClassGenerators, PriorSamples

SCALE, FLOOR = 440.0, 3.9e-5
"""Of the modified softmax, in the authors' code: the score's factor, and η."""


@dataclass(frozen=True)
class Explanation:
    """How each class explains each image.

    latents: (N, K, L). images: (N, K, C, H, W), what the classes draw of them. costs: (N, K),
    ‖x − G(z)‖² + ‖z‖² / 2, from which the score is −cost / P, P the pixel values of an image.
    """

    latents: Tensor
    images: Tensor
    costs: Tensor


class AnalysisBySynthesis(nn.Module):
    """Logits of images by the search for each class's best explanation of them.

    generators: K of them, such as `ClassDecoders(zoo.load("abs"))`, in whose dtype latents are
        searched.
    inference: "adam" is the paper's: the best of the samples of the prior, then 50 steps of Adam.
        "exact" goes on from there to an optimum, by eight steps of Levenberg–Marquardt, at less
        than twice the cost: for bounds, and for gradients that hold.
    search: in place of the two.
    samples: of the prior, drawn and decoded once, here; or those of another model of the same
        generators, shared.
    scale, floor: of the logits, scale · score, and of `confidences`.
    batch_size: images searched for at once; what 25 take is used again while it is in the cache.
    generator: where the samples are drawn from; by default a new one seeded 0.

    The gradient in the images is the true one where the search has converged. At an optimum the
    cost does not change, to first order, with the latents (the envelope theorem), on the sphere
    that holds them neither: so the best latents are taken as constants, and ∇ cost_c(x) =
    2 (x − G_c(z)). No step is unrolled. Deterministic, each image by itself. Raises ValueError or
    TypeError naming the argument and the rule that it breaks.

    >>> from armsrace.models.class_decoders import ClassDecoders
    >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
    >>> model(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """

    def __init__(
        self,
        generators: ClassGenerators,
        *,
        inference: Literal["adam", "exact"] = "adam",
        search: AdamSearch | LevenbergMarquardt | PolishedSearch | None = None,
        samples: int | PriorSamples = 8000,
        scale: float = SCALE,
        floor: float = FLOOR,
        batch_size: int = 25,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("inference", inference, ("adam", "exact"))
        check_at_least("scale", scale, 1e-9)
        check_at_least("floor", floor, 0)
        check_count("batch_size", batch_size)
        default = AdamSearch() if inference == "adam" else PolishedSearch()
        self.generators, self.search = generators, search or default
        if not isinstance(samples, PriorSamples):
            samples = PriorSamples(generators, samples, generator)
        self.samples = samples
        self.scale, self.floor, self.batch_size = scale, floor, batch_size

    def explain(self, images: Tensor) -> Explanation:
        """The best latents found for images (N, C, H, W), what they draw, and at which cost."""
        found = self.found(images)
        drawn = found.images.unflatten(2, images.shape[1:])
        return Explanation(found.latents, drawn, found.values)

    def found(self, images: Tensor) -> Found:
        """The same with flat images, in the generators' dtype, on no graph."""
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
            return Found(*(torch.cat([vars(part)[name] for part in parts]) for name in _FIELDS))

    def costs(self, images: Tensor) -> Tensor:
        """‖x − G(z)‖² + ‖z‖² / 2 (N, K) at the best latents, which are constants to autograd."""
        found = self.found(images)
        errors = images.flatten(1)[:, None] - found.images.to(images.dtype)
        lengths = found.latents.to(images.dtype).square().sum(dim=2)
        return errors.square().sum(dim=2) + lengths / 2

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K): scale · score, images (N, C, H, W) in [0, 1].

        Not the logarithms of `confidences`: those are equal, in float32, where η outweighs all.
        """
        return -self.scale / images[0].numel() * self.costs(images)

    def confidences(self, images: Tensor) -> Tensor:
        """The modified softmax (N, K): (e^logit + η) / Σ (e^logit + η), η the floor.

        Nothing explains an image far from all digits, and no class is then confident.
        """
        return tempered(self(images), self.floor)


def tempered(logits: Tensor, floor: float = FLOOR) -> Tensor:
    """(e^logit + η) / Σ (e^logit + η), of logits at most 0, (N, K); η = 0 is the softmax."""
    if floor == 0:
        return logits.softmax(dim=1)
    return torch.logaddexp(logits, torch.full_like(logits, math.log(floor))).softmax(dim=1)


_FIELDS = ("latents", "images", "values")
