"""How far every pixel may move, at most, without changing the mind of analysis by synthesis.

The L∞ analogue of `synthesis_bounds`; Schott et al. 2019 have one in their appendix, this
derivation is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.contracts import (
    UNIT,
    Bounds,
    check_at_least,
    check_classes,
    check_count,
    check_labels,
)
from armsrace.defenses.analysis_by_synthesis import AnalysisBySynthesis
from armsrace.defenses.class_search import Found
from armsrace.defenses.levenberg_marquardt import LevenbergMarquardt


def linf_bounds(
    model: AnalysisBySynthesis,
    images: Tensor,
    labels: Tensor,
    *,
    halvings: int = 8,
    largest: float = 0.25,
    bounds: Bounds | None = UNIT,
    search: LevenbergMarquardt | None = None,
) -> Tensor:
    """A lower bound on the L∞ distance (N,) to a change of the decision, image by image.

    Args:
        model, images, labels: as for `synthesis_bounds`.
        halvings: of the interval from 0 to `largest`, in which the bound is looked for.
        largest: no bound is reported above it.
        bounds: the box that perturbed pixels stay in; None for none, and a smaller bound.
        search: how the other classes' least costs are looked for; by default with two starts.

    ε is certified where the true class, with its explanation G of the clean image, cannot become
    worse than every other class can become good, pixel by pixel:

    max Σ (G − x')² + k  ≤  min_c min_z Σ max(0, abs(G_c(z) − x) − ε)² + ‖z‖² / 2,

    the maximum pixel by pixel over ‖x' − x‖∞ ≤ ε.

    The left rises and the right falls with ε. What is reported is the last ε certified, or 0. As
    in L2 it rests on the searches finding the optimum. Raises ValueError or TypeError naming the
    argument and the rule it breaks.

    >>> from armsrace.models.class_decoders import ClassDecoders
    >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
    >>> digits = datasets.load("mnist").take(1)
    >>> found = evaluation.linf_bounds(model, digits.images, digits.labels, halvings=2)
    >>> bool((0 <= found).all() and (found <= 0.25).all())
    True
    """
    check_labels(labels, len(images))
    check_classes(labels, model.generators.classes)
    check_count("halvings", halvings)
    check_at_least("largest", largest, 1e-9)
    search = search or LevenbergMarquardt(steps=15, starts=2)
    parts = zip(images.split(model.batch_size), labels.split(model.batch_size), strict=True)
    return torch.cat([_bisected(model, *part, halvings, largest, bounds, search) for part in parts])


@torch.no_grad()
def _bisected(
    model: AnalysisBySynthesis, images: Tensor, labels: Tensor, halvings: int, largest: float,
    bounds: Bounds | None, search: LevenbergMarquardt,
) -> Tensor:  # fmt: skip
    pixels = images.flatten(1).to(model.samples.images.dtype)
    starts = model.samples.best(pixels, search.starts)
    found = search(model.generators, pixels, starts)
    starts[:, 0] = found.latents
    low = torch.zeros_like(pixels[:, 0])
    width = torch.full_like(low, largest)
    for _ in range(halvings):
        width = width / 2
        middle = low + width
        other = search(model.generators, pixels, starts, shrink=middle.view(-1, 1, 1))
        least = other.values.scatter(1, labels[:, None], torch.inf).amin(dim=1)
        low = torch.where(worst_cost(found, pixels, labels, middle, bounds) <= least, middle, low)
    return low


def worst_cost(
    found: Found, pixels: Tensor, labels: Tensor, epsilon: Tensor, bounds: Bounds | None
) -> Tensor:
    """The true class's cost (N,) if every pixel moves by ε (N,) away from its explanation.

    found: latents and images of all classes; pixels: (N, P), kept in the box where there is one.
    """
    rows = torch.arange(len(labels), device=labels.device)
    drawn, latents = found.images[rows, labels], found.latents[rows, labels]
    ends = [pixels + epsilon[:, None], pixels - epsilon[:, None]]
    if bounds is not None:
        ends = [bounds.clip(end) for end in ends]
    error = torch.maximum((drawn - ends[0]).abs(), (drawn - ends[1]).abs())
    return error.square().sum(dim=1) + latents.square().sum(dim=1) / 2
