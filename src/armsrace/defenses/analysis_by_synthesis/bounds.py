"""How far an image can be perturbed before analysis by synthesis may change its decision.

Class c explains x at the cost L_c(x) = min_z ‖x − G_c(z)‖² + ‖z‖² / 2. The true class y explains it
by G at the distance r = ‖x − G‖ and the cost L_y. Under a perturbation δ class y can keep G, which
then costs no more than a known function of δ; the cost of any other class cannot fall below another
one. While the first is less than the second, y wins.

What is proved: no perturbation shorter than a bound changes the decision of a model that finds the
optimum, if the searches here have found theirs. What is not proved: that they have. A search that
falls short makes the other classes' costs too large, and so the bound.

Three forms, each of which lets δ do less than the one before:

* `synthesis_bounds`: L2, by the triangle inequality, in the paper's form and two that are never
  less (Schott, Rauber, Bethge and Brendel 2019, §3 and appendix).
* `linf_bounds`: L∞, pixel by pixel. The paper has another one in its appendix.
* `halfspace_bounds`: L2 and L∞, with y's explanations held: then the decision changes across
  hyperplanes, to which the distance is known. With one drawing per class these are the bisectors
  of nearest prototypes (Wang et al. 2019; Saralajew et al. 2020; Voráček and Hein 2022). Several
  held explanations are cutting planes of a concave function (Kelley 1960).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from armsrace.contracts import (
    UNIT,
    Bounds,
    check_at_least,
    check_choice,
    check_classes,
    check_count,
    check_labels,
)
from armsrace.defenses.analysis_by_synthesis.inference import Found, evidence
from armsrace.defenses.analysis_by_synthesis.levenberg_marquardt import LevenbergMarquardt
from armsrace.defenses.analysis_by_synthesis.model import AnalysisBySynthesis

# First form: L2, by the triangle inequality.


@dataclass(frozen=True)
class SynthesisBounds:
    """Distances (N,), L2 in pixel units, below which no decision can change.

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
    """Three lower bounds on the L2 distance to a change of the decision, for each image.

    For a perturbation of length ε the triangle inequality gives (r + ε)² + ‖z_y‖² / 2 as the most
    that y's explanation can cost, and max(0, ‖x − G_c(z)‖ − ε)² + ‖z‖² / 2 as the least that
    another's can. Both are equal at the bound. With d_c = min_z ‖x − G_c(z)‖ and L_c = L_c(x):

    * paper: min_c (d_c² − L_y) / (2 (d_c + r)).
    * closed: min_c (L_c − L_y) / (2 (√L_c + r)), never less than the paper's.
    * tight: min_c min(d_c, min_z (‖x − G_c(z)‖² + ‖z‖² / 2 − L_y) / (2 (‖x − G_c(z)‖ + r))).

    Args:
        model: whose explanations decide; its samples give the starts.
        images: x (N, C, H, W) in [0, 1].
        labels: y (N,) int64, the true classes.
        search: how L_c, d_c and the ratio are searched for; by default with five starts and thirty
            steps. Its radius should be the model's: the bound is then that of a model whose latents
            are held within it.

    Returns:
        The bounds, 0 where an image is misclassified.

    Cost:
        Three searches of all classes per image.

    References:
        Schott, Rauber, Bethge and Brendel 2019, §3 and appendix.

    Example:
        >>> from armsrace.models.abs_vae import ClassDecoders
        >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
        >>> digits = datasets.load("mnist").take(1)
        >>> found = evaluation.synthesis_bounds(model, digits.images, digits.labels)
        >>> bool((found.paper <= found.closed + 1e-5).all())
        True
    """
    check_labels(labels, len(images))
    check_classes(labels, model.generators.classes)
    search = search or LevenbergMarquardt(steps=30, starts=5)
    batches = zip(images.split(model.batch_size), labels.split(model.batch_size), strict=True)
    paper, closed, tight = torch.cat([_l2(model, x, y, search) for x, y in batches], dim=1)
    paper_bound, closed_bound, tight_bound = (
        form.amin(dim=1).clamp_min(0) for form in (paper, closed, tight)
    )
    return SynthesisBounds(paper_bound, closed_bound, tight_bound, tight.argmin(dim=1))


@torch.no_grad()
def _l2(
    model: AnalysisBySynthesis, images: Tensor, labels: Tensor, search: LevenbergMarquardt
) -> Tensor:
    """Paper, closed and tight (3, N, K) for each other class, infinity for the true one."""
    x = images.flatten(1).to(model.samples.images.dtype)
    starts = model.samples.best(x, search.starts)
    found = search(model.generators, x, starts)
    # Where the cost is least is a start for what is nearly the same problem.
    starts = torch.cat([found.latents[:, None], starts[:, :-1]], dim=1)
    cost, error = found.values, (found.images - x[:, None]).square().sum(dim=2)
    cost_y = cost.gather(1, labels[:, None])
    r = error.gather(1, labels[:, None]).sqrt()

    def squared_distance(error: Tensor, length: Tensor) -> Tensor:
        return error

    def ratio(error: Tensor, length: Tensor) -> Tensor:
        return (evidence(error, length) - cost_y) / (2 * (error.clamp_min(1e-12).sqrt() + r))

    nearest = search(model.generators, x, starts, squared_distance)
    d = torch.minimum(nearest.values, error).sqrt()
    least = search(model.generators, x, starts, ratio).values
    paper = (d.square() - cost_y) / (2 * (d + r))
    closed = (cost - cost_y) / (2 * (cost.sqrt() + r))
    at_found = ratio(error, found.latents.square().sum(dim=2))
    tight = torch.minimum(torch.minimum(least, at_found), d)
    forms = torch.stack([paper, closed, tight])
    return forms.scatter(2, labels[:, None].expand(3, -1, 1), torch.inf)


# Second form: L∞, pixel by pixel.


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
    """A lower bound on the L∞ distance (N,) to a change of the decision, for each image.

    ε is certified where the most that y's explanation can cost is at most the least that another
    class's can, with every pixel moved by up to ε:

    max_x' ‖x' − G‖² + ‖z_y‖² / 2  ≤  min_c min_z Σ max(0, abs(x − G_c(z)) − ε)² + ‖z‖² / 2,

    over all x' in the box with ‖x' − x‖∞ ≤ ε. The left side grows with ε and the right side falls,
    so that the largest ε is found by bisection.

    Args:
        model: as for `synthesis_bounds`, as are images and labels.
        halvings: of the interval from 0 to `largest`, in which the bound is searched for.
        largest: no bound is reported above it.
        bounds: the box that perturbed pixels stay in; None for none, and a smaller bound.
        search: how the other classes' least costs are searched for; by default with two starts.

    Returns:
        The last ε certified, or 0.

    Cost:
        A search of all classes per image and halving, and one more.

    References:
        Schott, Rauber, Bethge and Brendel 2019, appendix, have another L∞ bound.

    Example:
        >>> from armsrace.models.abs_vae import ClassDecoders
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
    batches = zip(images.split(model.batch_size), labels.split(model.batch_size), strict=True)
    return torch.cat([
        _linf(model, x, y, halvings, largest, bounds, search) for x, y in batches
    ])  # fmt: skip


@torch.no_grad()
def _linf(
    model: AnalysisBySynthesis, images: Tensor, labels: Tensor, halvings: int, largest: float,
    bounds: Bounds | None, search: LevenbergMarquardt,
) -> Tensor:  # fmt: skip
    """The bound (N,) for one batch."""
    x = images.flatten(1).to(model.samples.images.dtype)
    starts = model.samples.best(x, search.starts)
    found = search(model.generators, x, starts)
    starts[:, 0] = found.latents
    low = torch.zeros_like(x[:, 0])
    width = torch.full_like(low, largest)
    for _ in range(halvings):
        width = width / 2
        epsilon = low + width
        others = search(model.generators, x, starts, shrink=epsilon.view(-1, 1, 1))
        least = others.values.scatter(1, labels[:, None], torch.inf).amin(dim=1)
        certified = _largest_cost(found, x, labels, epsilon, bounds) <= least
        low = torch.where(certified, epsilon, low)
    return low


def _largest_cost(
    found: Found, x: Tensor, labels: Tensor, epsilon: Tensor, bounds: Bounds | None
) -> Tensor:
    """max over x' of ‖x' − G‖² + ‖z_y‖² / 2 (N,), for x (N, P) and ε (N,)."""
    ends = [x + epsilon[:, None], x - epsilon[:, None]]
    if bounds is not None:
        ends = [bounds.clip(end) for end in ends]
    g, z = _of_class(labels, found.images), _of_class(labels, found.latents)
    farthest = torch.maximum((g - ends[0]).abs(), (g - ends[1]).abs())
    return evidence(farthest.square().sum(dim=1), z.square().sum(dim=1))


# Third form: half-spaces, in L2 and L∞.

HalfspaceNorm = Literal["l2", "linf"]
BISECTIONS = 40
WEIGHINGS = 10
"""Halvings in the search for the weight of a half-space."""
FARTHEST = {"l2": 100.0, "linf": 1.0}
"""The largest multiple of a direction tried: a longer perturbation counts as this long."""


def halfspace_bounds(
    model: AnalysisBySynthesis,
    images: Tensor,
    labels: Tensor,
    *,
    norm: HalfspaceNorm = "l2",
    bounds: Bounds | None = UNIT,
    candidates: int = 2,
    rounds: int = 3,
    search: LevenbergMarquardt | None = None,
) -> Tensor:
    """A lower bound on the distance (N,) to a change of the decision, for each image.

    Let class y keep G, at the cost L of the clean x. The decision changes at x + δ only if some z
    of another class costs no more there: ‖x + δ − G_c(z)‖² + ‖z‖² / 2 ≤ ‖x + δ − G‖² + ‖z_y‖² / 2.
    The squares of δ cancel, and what is left is a half-space:

    2 δ · (G_c(z) − G)  ≥  ‖x − G_c(z)‖² + ‖z‖² / 2 − L.

    The bound is the length of the shortest such δ in the box, minimized over c and z. In L2 it is
    never below the tight form of `synthesis_bounds`, since ‖G_c(z) − G‖ is at most the sum of both
    distances to x. The minimum over z is searched for in turns: the shortest δ for z, then the best
    z for x + δ. No turn raises it, yet it may end in a local minimum.

    Class y may hold several explanations. Then δ must be in the half-spaces of all of them, and the
    bound is the distance to their intersection (`shortest_delta_in_all`).

    Args:
        model: as for `synthesis_bounds`, as are images and labels.
        norm: of the distance, in pixel units, "l2" or "linf".
        bounds: the box that perturbed pixels stay in; None for none, and a smaller bound.
        candidates: how many explanations of class y are held: the best one of the clean image, and
            again and again its best one of the point at which those before gave way.
        rounds: turns of the search for the other classes' explanations that give way first.
        search: how explanations of the clean image are searched for; by default as for
            `synthesis_bounds`.

    Returns:
        The bounds, 0 where an image is misclassified.

    Cost:
        A search of all classes per image, and candidates · (rounds + 1) short ones.

    References:
        Wang et al. 2019, "Evaluating the robustness of nearest neighbor classifiers: a primal-dual
        perspective"; Saralajew et al. 2020; Voráček and Hein 2022, for fixed drawings.

    Example:
        >>> from armsrace.models.abs_vae import ClassDecoders
        >>> model = defenses.AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), samples=100)
        >>> digits = datasets.load("mnist").take(1)
        >>> bool(evaluation.halfspace_bounds(model, digits.images, digits.labels, rounds=1) >= 0)
        True
    """
    check_labels(labels, len(images))
    check_classes(labels, model.generators.classes)
    check_choice("norm", norm, tuple(FARTHEST))
    check_count("candidates", candidates)
    check_count("rounds", rounds, 0)
    search = search or LevenbergMarquardt(steps=30, starts=5)
    batches = zip(images.split(model.batch_size), labels.split(model.batch_size), strict=True)
    return torch.cat([
        _halfspaces(model, x, y, norm, bounds, candidates, rounds, search) for x, y in batches
    ])  # fmt: skip


@torch.no_grad()
def _halfspaces(
    model: AnalysisBySynthesis, images: Tensor, labels: Tensor, norm: HalfspaceNorm,
    bounds: Bounds | None, candidates: int, rounds: int, search: LevenbergMarquardt,
) -> Tensor:  # fmt: skip
    """The bound (N,) for one batch."""
    x = images.flatten(1).to(model.samples.images.dtype)
    best = search(model.generators, x, model.samples.best(x, search.starts))
    again = LevenbergMarquardt(steps=6, starts=1, radius=search.radius)

    def cost(found: Found) -> Tensor:
        error = (found.images - x[:, None]).square().sum(dim=2)
        return evidence(error, found.latents.square().sum(dim=2))

    def shortest(others: Found, held: list[Found]) -> tuple[Tensor, Tensor]:
        """The length (N, K) and δ (N, K, P) at which each other class's z costs no more."""
        needed = [(cost(others) - _of_class(labels, cost(one))[:, None]) / 2 for one in held]
        normals = [others.images - _of_class(labels, one.images)[:, None] for one in held]
        return shortest_delta_in_all(normals, needed, x[:, None], norm, bounds)

    held, others, bound = [best], best, torch.zeros_like(x[:, 0])
    for _ in range(candidates):
        distances, delta = shortest(others, held)
        for _ in range(rounds):
            others = again(model.generators, x[:, None] + delta, others.latents[:, None])
            distances_now, delta = shortest(others, held)
            distances = torch.minimum(distances, distances_now)
        distances = distances.scatter(1, labels[:, None], torch.inf)
        bound = torch.maximum(bound, distances.amin(dim=1))
        gave_way = x + _of_class(distances.argmin(dim=1), delta)
        held.append(again(model.generators, gave_way, held[-1].latents[:, None]))
    return bound


def shortest_delta_in_all(
    normals: list[Tensor], needed: list[Tensor], pixels: Tensor, norm: HalfspaceNorm,
    bounds: Bounds | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `shortest_delta`, with δ in all of J half-spaces.

    A mean of the J conditions, with any weights, follows from them, and is a half-space. So its
    distance is a lower bound, and the largest one over all weights is the distance to the
    intersection (duality). Each weight in turn is searched for by halving: it grows where its own
    condition is violated. With two half-spaces this is exact; with more it is a lower bound.
    """
    weights = [torch.zeros_like(each) for each in needed]
    weights[0] = torch.ones_like(needed[0])
    size, delta = shortest_delta(normals[0], needed[0], pixels, norm, bounds)
    for j in [*range(1, len(needed))] + ([*range(len(needed))] if len(needed) > 2 else []):
        rest = 1 - weights[j]
        others = [w / rest.clamp_min(1e-9) for w in weights]
        low, high = torch.zeros_like(rest), torch.ones_like(rest)
        for _ in range(WEIGHINGS):
            share = (low + high) / 2
            trial = [w * (1 - share) for w in others]
            trial[j] = share
            trial = [
                torch.where(rest > 0, new, old) for new, old in zip(trial, weights, strict=True)
            ]
            normal = torch.stack(
                [w[..., None] * n for w, n in zip(trial, normals, strict=True)]
            ).sum(dim=0)
            enough = torch.stack([w * need for w, need in zip(trial, needed, strict=True)]).sum(
                dim=0
            )
            size_now, delta_now = shortest_delta(normal, enough, pixels, norm, bounds)
            violated = (normals[j] * delta_now).sum(dim=2) < needed[j]
            low, high = torch.where(violated, share, low), torch.where(violated, high, share)
            better = size_now > size
            size, delta = size_now.where(better, size), delta_now.where(better[..., None], delta)
            weights = [
                torch.where(better, new, old) for new, old in zip(trial, weights, strict=True)
            ]
    return size, delta


def shortest_delta(
    normals: Tensor, needed: Tensor, pixels: Tensor, norm: HalfspaceNorm, bounds: Bounds | None
) -> tuple[Tensor, Tensor]:
    """The lengths (N, K) and perturbations (N, K, P) of the shortest δ with normal · δ ≥ needed.

    pixels: (N, 1, P), which δ keeps in the box. Found by bisection, from below.
    """
    low, high = torch.zeros_like(needed), torch.full_like(needed, FARTHEST[norm])
    direction = normals.sign() if norm == "linf" else normals

    def delta(multiple: Tensor) -> Tensor:
        free = multiple[..., None] * direction
        return free if bounds is None else bounds.clip(pixels + free) - pixels

    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        enough = (normals * delta(middle)).sum(dim=2) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    found = delta(low)
    return (low if norm == "linf" else found.norm(dim=2)), found


def _of_class(classes: Tensor, values: Tensor) -> Tensor:
    """The values (N, …) of one class (N,) per image, of (N, K, …)."""
    return values[torch.arange(len(classes), device=classes.device), classes]
