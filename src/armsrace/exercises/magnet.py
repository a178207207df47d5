"""Checks of the exercises on MagNet: handled images, a divergence, a random reformer."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.defenses import jensen_shannon
from armsrace.exercises import Exercise


def check_count(answer: object) -> None:
    """Check `count_right(read, refused, truth)`: (clean accuracy, fraction handled), two numbers.

    read: predicted classes (N,). truth: true classes (N,). refused: (N,) bool. The first number
    counts images that are accepted and classified correctly; the second those that are refused or
    classified correctly.
    """
    truth = torch.tensor([0, 1, 2, 3, 4])
    predictions = torch.tensor([0, 1, 2, 9, 9])
    refused = torch.tensor([False, False, True, True, False])
    exercise = Exercise("What counts")
    solve = exercise.solution(answer, predictions, refused, truth)
    if solve is None:
        return
    found = solve(predictions, refused, truth)
    exercise.require(
        isinstance(found, (tuple, list, Tensor)) and len(found) == 2,
        "return two numbers: the clean accuracy and the fraction handled.",
    )
    clean, handled = (float(fraction) for fraction in found)
    exercise.require(
        max(clean, handled) <= 1, "return fractions between 0 and 1, not counts or percentages."
    )
    exercise.require(
        not math.isclose(clean, 0.6, abs_tol=1e-6),
        "a refused clean image counts as an error, even if it would be classified correctly.",
    )
    exercise.require(
        math.isclose(clean, 0.4, abs_tol=1e-6),
        "two of the five are accepted and classified correctly; your clean accuracy is "
        f"{clean:.2f}.",
    )
    exercise.require(
        not math.isclose(handled, 0.6, abs_tol=1e-6),
        "a refused adversarial image is handled, whatever class would be predicted for it.",
    )
    exercise.require(
        math.isclose(handled, 0.8, abs_tol=1e-6),
        "all except for the last are refused or classified correctly; your fraction is "
        f"{handled:.2f}.",
    )
    exercise.confirm("Neither number alone is enough: refusing everything handles everything.")


def check_divergence(answer: object) -> None:
    """Check `divergence(first, second, temperature)`: Jensen–Shannon, in nats, (N,).

    first, second: logits (N, K), divided by the temperature before the softmax.
    """
    first = torch.tensor([[2.0, 0.0, -1.0], [300.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    second = torch.tensor([[0.0, 1.0, 0.0], [0.0, 300.0, 0.0], [1.0, 1.0, 0.0]])
    exercise = Exercise("The divergence of two opinions")
    solve = exercise.solution(answer, first, second, 1.0)
    if solve is None:
        return
    found = solve(first, second, 1.0)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one number per row, a tensor of shape (3,).",
    )
    exercise.require(
        bool(torch.isfinite(found).all()),
        "a probability that rounds to 0 gives 0 · log 0: use torch.xlogy, or log_softmax.",
    )
    exercise.require(
        not math.isclose(float(found[1]), 1.0, abs_tol=1e-3),
        "that is in bits: for nats use the natural logarithm.",
    )
    exercise.require(
        math.isclose(float(found[1]), math.log(2), abs_tol=1e-3),
        f"for two opposite certainties it is log 2 = {math.log(2):.3f} nats, not "
        f"{float(found[1]):.3f}: check the factors 1/2.",
    )
    for temperature in (1.0, 10.0):
        logs = [(part / temperature).log_softmax(dim=1) for part in (first, second)]
        exercise.require(
            torch.allclose(solve(first, second, temperature), jensen_shannon(*logs), atol=1e-4),
            f"wrong at temperature {temperature:g}: divide the logits, and average the two "
            "divergences from the mean m of both distributions.",
        )
    exercise.confirm("It is symmetric and never exceeds log 2.")


def check_expected(answer: object) -> None:
    """Check `expected_logits(classifier, reformers)`: a callable, images to mean logits (N, K)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 2, 2, generator=generator)
    weights = torch.randn(4, 3, generator=generator)
    exercise = Exercise("Expect the lot")

    def classifier(batch: Tensor) -> Tensor:
        return (batch.flatten(1) @ weights) ** 2

    reformers: list[Callable[[Tensor], Tensor]] = [torch.relu, torch.cos, torch.square]
    solve = exercise.solution(answer, classifier, reformers)
    if solve is None:
        return
    mean = solve(classifier, reformers)
    exercise.require(callable(mean), "return a function of images: attacks take a callable.")
    leaf = images.clone().requires_grad_()
    found = mean(leaf)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3, 3),
        "the callable must return logits (N, K), here of shape (3, 3).",
    )
    each = [classifier(reform(images)) for reform in reformers]
    total = torch.stack(each).sum(dim=0)
    alone = torch.stack([reform(images) for reform in reformers]).mean(dim=0)
    exercise.require(
        not torch.allclose(found, classifier(alone), atol=1e-5),
        "average the logits, not the images: the classifier never sees a mean image.",
    )
    exercise.require(
        not torch.allclose(found, total, atol=1e-5), "divide by the number of reformers."
    )
    exercise.require(
        torch.allclose(found, total / len(each), atol=1e-5),
        "give all reformers the same weight, and draw none at random.",
    )
    exercise.require(found.requires_grad, "keep the gradient: an attack needs it.")
    exercise.confirm(
        "An attack on the average beats a random choice, since the average has a gradient."
    )
