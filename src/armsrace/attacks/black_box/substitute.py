"""A black-box attack through a substitute: a network trained on the model's own predictions.

Papernot, McDaniel, Goodfellow, Jha, Celik and Swami 2017, Algorithm 1. The attacker labels a few
images by asking the model (the oracle), trains a network on them, and makes more images along the
Jacobian of that network. Adversarial images of the substitute are then tried on the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace.attacks.base import AttackContext, attack_context
from armsrace.attacks.black_box.transfer import transfer
from armsrace.contracts import (
    UNIT,
    AttackResult,
    Bounds,
    Model,
    check_at_least,
    check_classes,
    check_count,
    check_images,
)
from armsrace.models.layers import predict
from armsrace.randomness import default_generator

__all__ = ["Substitute", "substitute", "train_substitute"]

CHUNK = 1000  # images sent at once, to the oracle and to the substitute


def substitute(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seeds: Tensor,
    build: Callable[[], nn.Module],
    attack: Callable[..., AttackResult],
    rounds: int = 6,
    step: float | None = None,
    epochs: int = 10,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    queries: int | None = None,
    targets: Tensor | None = None,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
) -> AttackResult:
    """Train a substitute on the model's predictions, attack it, and transfer the images.

    To attack several batches with one substitute, call `train_substitute` and `transfer`.

    Args:
        model: images to answers (N, K) of any kind, of which only the greatest is used.
        images: (N, C, H, W), pixels inside `bounds`.
        labels: (N,) int64, the true classes.
        seeds, build, rounds, step, epochs, learning_rate, batch_size, generator: how the
            substitute is trained, as for `train_substitute`; seeds are converted to the dtype of
            the images.
        attack: any attack with its options set, called as for `transfer`.
        queries: forward passes per image at most, an image's part of the training included; so
            many rounds are trained as fit, and the seeds must. No limit by default.
        targets: (N,) int64 wanted classes.
        bounds: the box of valid pixels.

    Returns:
        What the attack on the substitute returned, with success judged by the model. An equal part
        of the training's queries is added to each image's own, so that the sum over the images is
        what the model was asked in all.

    Differences from the paper:
        * As `train_substitute`.

    Cost:
        M · 2**rounds + N forward passes of the model for M seeds, no backward pass.

    References:
        Papernot, McDaniel, Goodfellow, Jha, Celik and Swami 2017, "Practical black-box attacks
        against machine learning", §4.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(8)
        >>> build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        >>> step = functools.partial(attacks.fgsm, epsilon=0.3)
        >>> found = attacks.substitute(
        ...     model, digits.images, digits.labels, seeds=digits.images, build=build, attack=step
        ... )
        >>> found.queries.sum() == 8 * 2**6 + 8, found.gradients.sum()
        (tensor(True), tensor(0))
    """
    checked = attack_context(model, images, labels, targets, bounds, decisions=True)
    with checked:
        if queries is not None:
            check_count("rounds", rounds, 0)
            check_count("queries", queries, 1 + math.ceil(len(seeds) / len(images)))
            rounds = min(rounds, int(math.log2((queries - 1) * len(images) / len(seeds))))
        trained = train_substitute(
            model, seeds.to(images), build=build, rounds=rounds, step=step, epochs=epochs,
            learning_rate=learning_rate, batch_size=batch_size, bounds=bounds, generator=generator,
        )  # fmt: skip
        result = transfer(
            model, images, labels, source=trained.model.to(images), attack=attack,
            targets=targets, bounds=bounds,
        )  # fmt: skip
    per_image, rest = divmod(trained.queries, len(result))
    one_more = torch.arange(len(result), device=result.queries.device) < rest
    return replace(result, queries=result.queries + per_image + one_more)


@dataclass(frozen=True)
class Substitute:
    """A trained substitute.

    model: images to logits, in evaluation mode. queries: the images that the oracle labeled.
    agreement: the fraction of these on which the substitute predicts what the oracle did.
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
    step: float | None = None,
    epochs: int = 10,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    bounds: Bounds = UNIT,
    generator: torch.Generator | None = None,
    watch: Callable[[int, Substitute], object] | None = None,
) -> Substitute:
    """A network that learns to predict what the oracle does, from a few images and their offspring.

    Each round doubles the images: x + λ · sign(∇ₓ Z_c(x)) for every image x, where Z is the
    substitute's logits and c the oracle's prediction for x. The oracle labels the new images, and
    the substitute goes on learning from all of them.

    Args:
        oracle: images to logits (N, K), of which only predictions are used.
        seeds: (M, C, H, W), the images that the attacker has, pixels inside `bounds`.
        build: a new network with at least K logits, its weights drawn by torch.
        rounds: how often the images are doubled.
        step: λ, the step from an image to its offspring in each pixel, in pixel units, a tenth of
            the box by default; a negative one moves away from the oracle's class, which the paper
            does not do.
        epochs: passes over the images before the first round and after each.
        learning_rate: Adam's.
        batch_size: the largest number of images per training step.
        bounds: the box of valid pixels, to which new images are clipped.
        generator: the source of the seed of weights, order and dropout; a new one seeded 0 by
            default. Torch's random state is left as it was.
        watch: called as watch(round, substitute) before the first round and after each. The network
            it is given goes on learning afterwards.

    Returns:
        The trained `Substitute`. With equal seeds fewer rounds give what more rounds had on the
        way.

    Differences from the paper:
        * No reservoir sampling, which saves queries in late rounds.
        * The gradient is that of the logit, not of the probability, which vanishes where the
          substitute is confident.

    Cost:
        M · 2**rounds forward passes of the oracle, no backward pass.

    References:
        Papernot, McDaniel, Goodfellow, Jha, Celik and Swami 2017, "Practical black-box attacks
        against machine learning", Algorithm 1.

    Example:
        >>> oracle, seeds = zoo.load("softmax"), datasets.load("mnist").take(20).images
        >>> build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        >>> train_substitute = attacks.black_box.substitute.train_substitute
        >>> train_substitute(oracle, seeds, build=build, rounds=2).queries
        80
    """
    check_count("rounds", rounds, 0)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    step = 0.1 * bounds.width if step is None else step
    if not math.isfinite(step):
        raise ValueError(f"step must be finite, got {step:g}")
    check_at_least("learning_rate", learning_rate, 0)
    check_images(seeds, bounds, "seeds")
    generator = default_generator(generator)
    torch_seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    no_labels = torch.zeros(len(seeds), dtype=torch.int64, device=seeds.device)
    # With targets the oracle's answer is not read as adversarial or not, also where it rejects.
    checked = attack_context(oracle, seeds, no_labels, no_labels, bounds, decisions=True)
    # The state of every device is kept, since manual_seed seeds them all.
    with checked as context, torch.random.fork_rng():
        torch.manual_seed(torch_seed)
        model = build().to(context.images)
        optimizer = torch.optim.Adam(model.parameters(), learning_rate)
        images, classes = context.images, _oracle_classes(context, context.images)
        for number in range(rounds + 1):
            if number > 0:
                offspring = _offspring(model, images, classes, step, bounds)
                images = torch.cat([images, offspring])
                classes = torch.cat([classes, _oracle_classes(context, offspring)])
            _fit(model, optimizer, images, classes, epochs, batch_size)
            agrees = predict(model, images).argmax(dim=1) == classes
            trained = Substitute(model, len(images), agrees.double().mean().item())
            if watch is not None:
                watch(number, trained)
    return trained


@torch.no_grad()
def _oracle_classes(oracle: AttackContext, images: Tensor) -> Tensor:
    """The classes (M,) that the oracle predicts."""
    return torch.cat([oracle.logits(part).argmax(dim=1) for part in images.split(CHUNK)])


def _offspring(
    model: nn.Module, images: Tensor, classes: Tensor, step: float, bounds: Bounds
) -> Tensor:
    """x + λ · sign(∇ₓ Z_c(x)) for each image: the Jacobian-based augmentation."""

    def logit(logits: Tensor, classes: Tensor) -> Tensor:
        return logits.gather(1, classes[:, None]).squeeze(1)

    context = AttackContext(model, images, classes, None, bounds)
    parts = torch.arange(len(images), device=images.device).split(CHUNK)
    grads = [context.select(part).loss_and_grad(images[part], logit)[1] for part in parts]
    return bounds.clip(images + step * torch.cat(grads).sign())


def _fit(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, classes: Tensor,
    epochs: int, batch_size: int,
) -> None:  # fmt: skip
    """Train the substitute for some epochs on what the oracle answered."""
    model.train()
    batches = math.ceil(len(images) / batch_size)
    with torch.enable_grad():
        for _ in range(epochs):
            # Parts of nearly equal size: batch normalization fails on a last batch of one.
            for batch in torch.randperm(len(images)).to(images.device).tensor_split(batches):
                optimizer.zero_grad()
                logits = model(images[batch])
                check_classes(classes[batch], logits.shape[1], "the oracle's class")
                functional.cross_entropy(logits, classes[batch]).backward()
                optimizer.step()
    model.eval()
