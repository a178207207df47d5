"""The one-pixel attack: differential evolution over the positions and colors of a few pixels.

Su, Vargas and Sakurai 2019, §III. Differential evolution: Storn and Price 1997. Each image has its
own population, and all populations evolve together.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import torch
from torch import Tensor

from armsrace.attacks.base import AttackContext, attack_context, rows_per_pass
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_choice,
    check_count,
    query_limit,
)
from armsrace.losses import log_odds
from armsrace.randomness import Keys, default_generator

TUTORIAL: Final[dict[str, Any]] = {
    "population": 5000, "generations": 400, "base": "best", "mutation": (0.5, 1.0),
    "colors": "uniform", "label_below": 1.0, "target_above": 0.0,
}  # fmt: skip
"""The settings of tutorials on MNIST, which use SciPy's `differential_evolution` with recombination
1 and stop at the first success."""

BATCH_SIZES = {"cpu": 128}
BATCH_SIZE = 2048
"""A GPU needs many candidates per forward pass. On a CPU the activations of a few hundred color
images outgrow what the allocator keeps, and each pass then takes twice as long."""


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
    queries: int | None = None,
    batch_size: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Changes a few pixels, whose positions and colors an evolving population finds.

    A candidate is a row, a column and a color per pixel; where two pixels have the same position
    the last one counts. A child replaces its parent where it makes p(label) smaller, or p(target)
    greater, by more than rounding.

    Args:
        model: images to logits (N, K).
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        pixels: how many may change, the L0 budget.
        population: candidates per image.
        generations: steps of the evolution, at most.
        base: what a child starts from, a "random" candidate or the "best".
        mutation: the interval from which F, the scale of a step, is drawn in each generation.
        colors: the first ones are "uniform" in the box or "normal", N(128, 127) of 255, clipped.
        label_below: an image is done when it is adversarial and p(label) is smaller; 1 stops at the
            first success.
        target_above: the same with targets, where p(target) is greater; 0 stops at the first.
        queries: forward passes per image at most, at least 3; no limit by default.
        batch_size: candidates in one forward pass, of all images together. By default 2,048, on a
            CPU 128, and of large images as many as have 4 million values.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.
        generator: source of positions, colors and parents; a new one seeded 0 by default.

    Returns:
        The fittest adversarial candidates; the clean image where there is none. The defaults are
        the paper's settings; `TUTORIAL` has others.

    Differences from the paper:
        * We compare log odds instead of probabilities, which float32 rounds to 1 for a confident
          image. The order is the same.
        * A position outside of the image comes back in on the other side, and a color is clipped to
          the box.

    Cost:
        `population` forward passes at first and in each generation, only for images still under
        search; two more. No gradients.

    References:
        Su, Vargas and Sakurai 2019, "One pixel attack for fooling deep neural networks", §III.
        Storn and Price 1997, "Differential evolution".

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> images, labels = digits.images, digits.labels
        >>> found = attacks.one_pixel(model, images, labels, population=20, generations=5)
        >>> ((found.images != images).flatten(1).sum(dim=1) <= 1).all()
        tensor(True)
    """
    check_count("pixels", pixels)
    check_choice("colors", colors, ("normal", "uniform"))
    _check_probability("label_below", label_below)
    _check_probability("target_above", target_above)
    check_choice("base", base, ("random", "best"))
    # A child has this many parents other than its own, and all are different.
    check_count("population", population, 4 if base == "random" else 3)
    check_count("generations", generations, 0)
    if batch_size is not None:
        check_count("batch_size", batch_size)
    check_at_least("mutation", mutation[0], 0)
    limit = query_limit(queries)
    if mutation[1] < mutation[0]:
        raise ValueError(f"mutation must be an interval (low, high), got {mutation}")
    # p(label) < label_below means that the log odds against the label are greater than this.
    certainty = 1 - label_below if targets is None else target_above
    enough = torch.tensor(certainty, dtype=torch.float64).logit().item()
    generator = default_generator(generator)
    with attack_context(model, images, labels, targets, bounds) as context, torch.no_grad():
        best_adv, used = context.images.clone(), torch.ones_like(context.labels)
        best_fitness = torch.full_like(best_adv[:, 0, 0, 0], -torch.inf)
        at_once = rows_per_pass(
            best_adv, batch_size, BATCH_SIZES.get(best_adv.device.type, BATCH_SIZE)
        )
        # Genes are float64 whatever the images are, so that all dtypes get the same candidates.
        keys, shape = Keys(context.images.double()), (population, pixels, images.shape[1])
        genes = _first_genes(keys, shape, colors, generator)
        active = (~context.is_adversarial(context.logits(best_adv))).nonzero()[:, 0]
        genes = children = genes[active]
        fitness = best_fitness[active][:, None].expand(-1, population)
        for generation in range(1 + generations):
            # Where the queries do not last for a whole generation, the first of it are judged.
            judged = int(min(population, limit - 2 - generation * population))
            if len(active) == 0 or judged <= 0:
                break
            part, children = context.select(active), children[:, :judged]
            genes, fitness = genes[:, :judged], fitness[:, :judged]
            child_fitness, is_adversarial = _judged(part, children, at_once)
            used[active] += judged
            # Rounding depends on the batch; a child that is equal up to rounding must not win.
            fitter = child_fitness > fitness + 1000 * torch.finfo(fitness.dtype).eps
            genes = torch.where(fitter[..., None, None], children, genes)
            fitness = torch.where(fitter, child_fitness, fitness)
            score, member = child_fitness.masked_fill(~is_adversarial, -torch.inf).max(dim=1)
            better = score > best_fitness[active]
            best_fitness[active[better]] = score[better]
            winners = children[better, member[better]]
            best_adv[active[better]] = painted(part.images[better], winners, bounds)
            going = best_fitness[active] <= enough
            active, genes, fitness = active[going], genes[going], fitness[going]
            if judged < population:
                break
            children = _children(genes, fitness, base, mutation, keys[active], generator)
        return context.minimal_result(best_adv, used, torch.zeros_like(used))


def _check_probability(name: str, value: float) -> None:
    """Raise unless value is between 0 and 1."""
    check_at_least(name, value, 0)
    if value > 1:
        raise ValueError(f"{name} must be <= 1, got {value:g}")


# Genes (N, P, pixels, 2 + C) hold the row, column and color of each pixel, all in [0, 1].


def _first_genes(
    keys: Keys, shape: tuple[int, int, int], colors: str, generator: torch.Generator
) -> Tensor:
    """Random genes for a shape (P, pixels, C): positions are uniform, colors as told."""
    positions = keys.uniform((*shape[:2], 2), generator)
    if colors == "normal":
        values = (128 + 127 * keys.normal(shape, generator)) / 255
    else:
        values = keys.uniform(shape, generator)
    return inside(torch.cat([positions, values], dim=3))


def inside(genes: Tensor) -> Tensor:
    """Genes in [0, 1]: a position comes back in on the other side, a color is clipped."""
    return torch.cat([genes[..., :2].remainder(1), genes[..., 2:].clamp(0, 1)], dim=-1)


def _judged(context: AttackContext, genes: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
    """The fitness (N, P) of each candidate, in log odds, and whether it is adversarial (N, P)."""
    image = torch.arange(len(genes), device=genes.device).repeat_interleave(genes.shape[1])
    answers = []
    for of, some in zip(image.split(at_once), genes.flatten(0, 1).split(at_once), strict=True):
        part = context.select(of)
        answers.append(part.loss(painted(part.images, some, context.bounds), log_odds))
    fitness, is_adversarial = (
        torch.cat(values).view(genes.shape[:2]) for values in zip(*answers, strict=True)
    )
    return fitness, is_adversarial


def painted(images: Tensor, genes: Tensor, bounds: Bounds) -> Tensor:
    """Images (M, C, H, W) with the pixels of genes (M, pixels, 2 + C) set.

    All pixels with one position write the color of the last one, so that the order of writing does
    not matter.
    """
    height, width = images.shape[2:]
    # Rounding may take a remainder to 1, which is outside.
    row = (genes[..., 0] * height).long().clamp_max(height - 1)
    index = row * width + (genes[..., 1] * width).long().clamp_max(width - 1)
    numbers = torch.arange(genes.shape[1], device=genes.device).expand_as(index)
    last = index.new_zeros(len(images), height * width).scatter_reduce(1, index, numbers, "amax")
    color = genes[..., 2:].take_along_dim(last.gather(1, index)[..., None], dim=1)
    values = bounds.clip(bounds.lower + bounds.width * color).to(images.dtype)
    indices = index[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).scatter(2, indices, values.transpose(1, 2)).view_as(images)


def _children(
    genes: Tensor, fitness: Tensor, base: str, mutation: tuple[float, float], keys: Keys,
    generator: torch.Generator,
) -> Tensor:  # fmt: skip
    """One child per member (N, P, pixels, 2 + C): x_r1 + F · (x_r2 − x_r3), without crossover.

    F is drawn uniformly once per image. fitness is (N, P).
    """
    low, high = mutation
    f = low + (high - low) * keys.uniform((1,) * (genes.ndim - 1), generator)
    if base == "random":
        r2, r3, r1 = partners(genes.shape[1], 3, keys, generator)
    else:
        r2, r3 = partners(genes.shape[1], 2, keys, generator)
        r1 = fitness.argmax(dim=1, keepdim=True)
    image = torch.arange(len(genes), device=genes.device)[:, None]
    return inside(genes[image, r1] + f * (genes[image, r2] - genes[image, r3]))


def partners(population: int, count: int, keys: Keys, generator: torch.Generator) -> list[Tensor]:
    """`count` indices (N, P) per member, all different and none its own, each equally likely."""
    numbers = keys.uniform((population, count), generator)
    taken = torch.arange(population, device=numbers.device).expand(len(numbers), -1)[..., None]
    for number in numbers.unbind(dim=2):
        # A free index, counted past each taken one that is not greater.
        index = (number * (population - taken.shape[2])).long()
        for used in taken.sort(dim=2).values.unbind(dim=2):
            index = index + (index >= used).long()
        taken = torch.cat([taken, index[..., None]], dim=2)
    return list(taken.unbind(dim=2)[1:])
