"""A network trained to answer as another does, by asking it about images made for the purpose.

Papernot, McDaniel, Goodfellow, Jha, Celik and Swami 2017, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.attacks.problem import Problem, posed
from armsrace.attacks.randomness import default_generator
from armsrace.contracts import (
    UNIT,
    Bounds,
    Model,
    check_at_least,
    check_classes,
    check_count,
    check_images,
)
from armsrace.models.layers import predict

AT_ONCE = 1000


@dataclass(frozen=True)
class Substitute:
    """A trained substitute.

    model: images to logits, in evaluation mode. queries: images that the oracle labelled.
    agreement: the share of these on which the substitute predicts what the oracle did.
    """

    model: nn.Module
    queries: int
    agreement: float


def train_substitute(
    oracle: Model,
    seeds: Tensor,
    *,
    build: Callable[[], nn.Module],
    rounds: int = 6,
    step: float = 0.1,
    epochs: int = 10,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
    watch: Callable[[int, Substitute], object] | None = None,
) -> Substitute:
    """A network that learns to answer as the oracle does, from a few images and their offspring.

    Args:
        oracle: images to logits (N, K), of which only predictions are used.
        seeds: (M, C, H, W), the images that the attacker has, pixels inside `bounds`.
        build: a new network with at least K logits, its weights drawn by torch.
        rounds: how often the images are doubled; the oracle is asked M · 2**rounds images in all.
        step: λ, how far a new image lies from its parent in each pixel, in pixel units; a negative
            one moves away from the oracle's class, which the paper does not.
        epochs: passes over the images before the first round and after each.
        learning_rate: Adam's.
        batch_size: images a training step, at most.
        bounds: the box of valid pixels, which new images keep.
        generator: where the seed of weights, order and dropout comes from; a new one seeded 0 by
            default.
        watch: called as watch(round, substitute) before the first round and after each, with the
            network as it stands, which goes on learning afterwards.

    A round moves every image by λ · sign of the slope of the substitute's own logit for the
    oracle's class, and asks the oracle about the images so made. Weights are kept from round to
    round. We leave out the paper's reservoir sampling, which spares queries in late rounds, and
    its slope of the probability, which vanishes where the substitute is sure. With equal seeds
    fewer rounds give what more rounds had on the way. Torch's random state is left as it was.
    Raises ValueError or TypeError naming the argument and the rule it breaks.

    >>> oracle, seeds = zoo.load("softmax"), datasets.load("mnist").take(20).images
    >>> build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    >>> attacks.imitation.train_substitute(oracle, seeds, build=build, rounds=2).queries
    80
    """
    check_count("rounds", rounds, 0)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    if not math.isfinite(step):
        raise ValueError(f"step must be finite, got {step:g}")
    check_at_least("learning_rate", learning_rate, 0)
    check_images(seeds, bounds, "seeds")
    draws = default_generator(generator)
    seed = int(torch.randint(2**62, (), generator=draws, device=draws.device))
    unlabelled = torch.zeros(len(seeds), dtype=torch.int64, device=seeds.device)
    # Of every device, since manual_seed seeds them all.
    with posed(oracle, seeds, unlabelled, None, bounds) as task, torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build().to(seeds)
        optimizer = torch.optim.Adam(model.parameters(), learning_rate)
        images, answers = task.images, _answers(task, task.images)
        for number in range(rounds + 1):
            if number > 0:
                born = _offspring(model, images, answers, step, bounds)
                images = torch.cat([images, born])
                answers = torch.cat([answers, _answers(task, born)])
            _fit(model, optimizer, images, answers, epochs, batch_size)
            same = predict(model, images).argmax(dim=1) == answers
            made = Substitute(model, len(images), same.double().mean().item())
            if watch is not None:
                watch(number, made)
    return made


@torch.no_grad()
def _answers(task: Problem, images: Tensor) -> Tensor:
    return torch.cat([task.logits(part).argmax(dim=1) for part in images.split(AT_ONCE)])


def _fit(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, answers: Tensor,
    epochs: int, batch_size: int,
) -> None:  # fmt: skip
    model.train()
    batches = math.ceil(len(images) / batch_size)
    with torch.enable_grad():
        for _ in range(epochs):
            # Parts of nearly equal size: a last batch of one would be nothing to normalise by.
            for batch in torch.randperm(len(images)).to(images.device).tensor_split(batches):
                optimizer.zero_grad()
                logits = model(images[batch])
                check_classes(answers[batch], logits.shape[1], "the oracle's class")
                functional.cross_entropy(logits, answers[batch]).backward()
                optimizer.step()
    model.eval()


def _offspring(
    model: nn.Module, images: Tensor, answers: Tensor, step: float, bounds: Bounds
) -> Tensor:
    task = Problem(model, images, answers, None, bounds)
    parts = torch.arange(len(images), device=images.device).split(AT_ONCE)
    slopes = [task.subset(part).ascent(images[part], _own_logit)[0] for part in parts]
    return bounds.clip(images + step * torch.cat(slopes).sign())


def _own_logit(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)
