"""How far an image must move before analysis by synthesis can change its mind.

Schott, Rauber, Bethge and Brendel 2019, §3 and appendix (the paper's form); the others are ours.
Each holds for exact inference: for the class whose explanation is the best there is.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from armsrace.contracts import check_classes, check_labels
from armsrace.defenses.analysis_by_synthesis import AnalysisBySynthesis
from armsrace.defenses.class_search import Objective, evidence
from armsrace.defenses.levenberg_marquardt import LevenbergMarquardt


@dataclass(frozen=True)
class SynthesisBounds:
    """Sizes (N,) of perturbations, L2 in pixel units, below which no decision can change.

    paper, closed, tight: the three forms; see `synthesis_bounds`. All are 0 for an image that is
    misclassified. other: (N,) the class whose tight bound is the least.
    """

    paper: Tensor
    closed: Tensor
    tight: Tensor
    other: Tensor

    @property
    def best(self) -> Tensor:
        """The larger of closed and tight: both hold."""
        return torch.maximum(self.closed, self.tight)


def synthesis_bounds(
    model: AnalysisBySynthesis,
    images: Tensor,
    labels: Tensor,
    *,
    search: LevenbergMarquardt | None = None,
) -> SynthesisBounds:
    """Three lower bounds on the L2 distance to a change of the decision, image by image.

    Args:
        model: whose explanations decide; its samples give the starts.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64, the true classes y.
        search: how the least costs and distances are looked for; by default with five starts and
            thirty steps. Its radius should be the model's: the bound then is the clipped model's.

    With L_y and r of the true class's explanation, which a perturbation of length ε can worsen to
    (r + ε)² + k, and the other class's least distance d_c and cost L_c:

    paper: min_c (d_c² − L_y) / (2 (d_c + r)).
    closed: min_c (L_c − L_y) / (2 (√L_c + r)), never less than the paper's.
    tight: min_c min(d_c, min_z (‖x − G_c(z)‖² + ‖z‖² / 2 − L_y) / (2 (‖x − G_c(z)‖ + r))).

    Proved: no perturbation shorter than a bound changes the decision of a model that finds the
    optimum, if the searches here have found theirs. Not proved: that they have. A search that falls
    short makes d_c, L_c and the ratio too large and so the bound. Raises ValueError or TypeError
    naming the argument and the rule it breaks.

    >>> from armsrace.models.class_decoders import ClassDecoders
    >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
    >>> digits = datasets.load("mnist").take(1)
    >>> found = evaluation.synthesis_bounds(model, digits.images, digits.labels)
    >>> bool((found.paper <= found.closed + 1e-5).all())
    True
    """
    check_labels(labels, len(images))
    check_classes(labels, model.generators.classes)
    search = search or LevenbergMarquardt(steps=30, starts=5)
    parts = [
        _bounds(model, *batch, search)
        for batch in zip(
            images.split(model.batch_size), labels.split(model.batch_size), strict=True
        )
    ]
    names = (field.name for field in fields(SynthesisBounds))
    return SynthesisBounds(*(torch.cat([vars(part)[name] for part in parts]) for name in names))


@torch.no_grad()
def _bounds(
    model: AnalysisBySynthesis, images: Tensor, labels: Tensor, search: LevenbergMarquardt
) -> SynthesisBounds:
    pixels = images.flatten(1).to(model.samples.images.dtype)
    starts = model.samples.best(pixels, search.starts)
    found = search(model.generators, pixels, starts)
    # Where the evidence is best is a start for what is nearly the same problem.
    starts = torch.cat([found.latents[:, None], starts[:, :-1]], dim=1)
    plain = search(model.generators, pixels, starts, nearest)
    costs, errors = found.values, (found.images - pixels[:, None]).square().sum(dim=2)
    own = costs.gather(1, labels[:, None])
    residual = errors.gather(1, labels[:, None]).sqrt()
    distance = torch.minimum(plain.values, errors).sqrt()
    ratio = advantage(own, residual)
    least = search(model.generators, pixels, starts, ratio)
    reached = ratio(errors, found.latents.square().sum(dim=2))
    paper = (distance.square() - own) / (2 * (distance + residual))
    closed = (costs - own) / (2 * (costs.sqrt() + residual))
    tight = torch.minimum(torch.minimum(least.values, reached), distance)
    paper, closed, tight = (
        form.scatter(1, labels[:, None], torch.inf) for form in (paper, closed, tight)
    )
    sizes = [form.amin(dim=1).clamp_min(0) for form in (paper, closed, tight)]
    return SynthesisBounds(sizes[0], sizes[1], sizes[2], tight.argmin(dim=1))


def nearest(error: Tensor, length: Tensor) -> Tensor:
    """An objective: the squared error alone, whatever the latents cost."""
    return error


def advantage(own: Tensor, residual: Tensor) -> Objective:
    """An objective: (d² + k − L_y) / (2 (d + r)), own and residual broadcast to (N, K)."""

    def ratio(error: Tensor, length: Tensor) -> Tensor:
        return (evidence(error, length) - own) / (2 * (error.clamp_min(1e-12).sqrt() + residual))

    return ratio
