"""One pixel, or a few: differential evolution over places and colors.

Su, Vargas and Sakurai 2019, §III.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import torch
from torch import Tensor

from armsrace.attacks.evolution import Evolution
from armsrace.attacks.margins import log_odds
from armsrace.attacks.pixel_genes import inside, painted, random_genes
from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import Keys, default_generator
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_choice,
    check_count,
)

TUTORIAL: Final[dict[str, Any]] = {
    "population": 5000, "generations": 400, "base": "best", "mutation": (0.5, 1.0),
    "colors": "uniform", "label_below": 1.0, "target_above": 0.0,
}  # fmt: skip
"""What tutorials on MNIST ask of SciPy's `differential_evolution`: recombination 1, until the first
success."""

# Candidates a forward pass. A GPU wants many; on a CPU the activations of a few hundred color
# images outgrow what the allocator keeps, and each pass then takes twice as long.
CHUNKS = {"cpu": 128}
CHUNK = 2048


def one_pixel(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    pixels: int = 1,
    population: int = 400,
    generations: int = 100,
    base: Literal["random", "best"] = "random",
    mutation: tuple[float, float] = (0.5, 0.5),
    colors: Literal["normal", "uniform"] = "normal",
    label_below: float = 0.05,
    target_above: float = 0.9,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """The few pixels whose new places and colors an evolving population finds.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        pixels: how many may change, the L0 budget.
        population: candidates an image.
        generations: steps of the evolution at most.
        base: what a child starts from, a "random" member or the "best".
        mutation: the interval from which each generation draws F, the length of a step.
        colors: the first ones are "uniform" in the box or "normal", N(128, 127) of 255, clipped.
        label_below: an image is done when it fools and p(label) is smaller; 1 stops at the first
            success.
        target_above: the same with targets, where p(target) is greater; 0 stops at the first.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.
        generator: where places, colors and partners come from; a new one seeded 0 by default.

    A candidate is a row, a column and a color a pixel; where two pixels fall on one place, the last
    wins. A child replaces its parent where it makes p(label) smaller, or p(target) greater, by more
    than rounding. Returned is the fittest candidate that fooled the model, or the clean image where
    none did. An image costs 1 + population queries and another population a generation, no
    gradients. The defaults are the paper's settings; `TUTORIAL` holds others. Where the paper
    compares probabilities we compare their log odds, which float32 does not round to 1 for a
    confident image. A place that leaves the image comes in again on the other side, a color stops
    at the end of the box. Raises ValueError or TypeError naming the argument and the rule it
    breaks.

    >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
    >>> found = attacks.one_pixel(model, digits.images, digits.labels, population=20, generations=5)
    >>> ((found.images != digits.images).flatten(1).sum(dim=1) <= 1).all()
    tensor(True)
    """
    check_count("pixels", pixels)
    check_choice("colors", colors, ("normal", "uniform"))
    _check_probability("label_below", label_below)
    _check_probability("target_above", target_above)
    rules = Evolution(population, generations, base, mutation)
    rules.check()
    # p(label) < label_below is to say: the log odds against the label are greater than these.
    certainty = 1 - label_below if targets is None else target_above
    enough = torch.tensor(certainty, dtype=torch.float64).logit().item()
    generator = default_generator(generator)
    with posed(model, images, labels, targets, bounds) as problem, torch.no_grad():
        # Genes are float64 whatever the images are: both kinds meet the same candidates.
        keys, shape = Keys(problem.images.double()), (population, pixels, images.shape[1])
        genes = random_genes(keys, shape, colors == "normal", generator)
        return _evolve(problem, genes, rules, enough, keys, generator)


def _evolve(
    problem: Problem, genes: Tensor, rules: Evolution, enough: float, keys: Keys,
    generator: torch.Generator,
) -> AttackResult:  # fmt: skip
    found, queries = problem.images.clone(), torch.ones_like(problem.labels)
    record = torch.full_like(found[:, 0, 0, 0], -torch.inf)
    left = (~problem.fooled(problem.logits(found))).nonzero()[:, 0]
    genes = children = genes[left]
    fitness = record[left][:, None].expand(-1, rules.population)
    for _ in range(1 + rules.generations):
        if len(left) == 0:
            break
        part = problem.subset(left)
        scores, fooled = _judged(part, children)
        queries[left] += rules.population
        # Rounding depends on the batch; what is equal but for it must not replace its parent.
        fitter = scores > fitness + 1000 * torch.finfo(scores.dtype).eps
        genes = torch.where(fitter[..., None, None], children, genes)
        fitness = torch.where(fitter, scores, fitness)
        score, place = scores.masked_fill(~fooled, -torch.inf).max(dim=1)
        better = score > record[left]
        record[left[better]] = score[better]
        winners = children[better, place[better]]
        found[left[better]] = painted(part.images[better], winners, problem.bounds)
        going = record[left] <= enough
        left, genes, fitness = left[going], genes[going], fitness[going]
        children = inside(rules.children(genes, fitness, keys[left], generator))
    return problem.finish_nearest(found, queries, torch.zeros_like(queries))


def _judged(problem: Problem, genes: Tensor) -> tuple[Tensor, Tensor]:
    """How adversarial each candidate (N, P) is, in log odds, and whether it fools (N, P)."""
    owners = torch.arange(len(genes), device=genes.device).repeat_interleave(genes.shape[1])
    chunk, answers = CHUNKS.get(genes.device.type, CHUNK), []
    for owner, some in zip(owners.split(chunk), genes.flatten(0, 1).split(chunk), strict=True):
        part = problem.subset(owner)
        answers.append(part.loss(painted(part.images, some, problem.bounds), log_odds))
    scores, fooled = (torch.cat(kind).view(genes.shape[:2]) for kind in zip(*answers, strict=True))
    return scores, fooled


def _check_probability(name: str, value: float) -> None:
    check_at_least(name, value, 0)
    if value > 1:
        raise ValueError(f"{name} must be <= 1, got {value:g}")
