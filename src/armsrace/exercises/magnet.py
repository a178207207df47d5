"""Checks of the exercises on MagNet: handled images, a random reformer, the whole defense."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from armsrace import datasets
from armsrace.defenses import MagNet, ReconstructionError
from armsrace.exercises import Exercise, require_budget
from armsrace.models import zoo
from armsrace.norms import distances


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
        f"all except the last are refused or classified correctly; your fraction is {handled:.2f}.",
    )
    exercise.confirm("Neither number alone is enough: refusing everything handles everything.")


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
        "An attack on the average beats a random choice, because the average has a gradient."
    )


def check_past_magnet(answer: object) -> None:
    """Check `attack(defense, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖₂ ≤ epsilon.

    defense: `MagNet.with_refusal`, images to 11 logits. At least 15 of 20 digits must be
    misclassified and not refused.
    """
    exercise, epsilon = Exercise("Past MagNet"), 2.0
    drawn = datasets.load("mnist", "test").take(500, torch.Generator().manual_seed(1601))
    names = ("carlini-wagner", "magnet-1", "magnet-2")
    network, one, two = (zoo.load(name).requires_grad_(False) for name in names)
    detectors = [ReconstructionError(one, 2), ReconstructionError(two, 1)]
    magnet = MagNet(network, one, detectors).calibrate(drawn.images[:400], 0.005)
    defense = magnet.with_refusal()
    with torch.no_grad():
        right = (defense(drawn.images[400:]).argmax(1) == drawn.labels[400:]).nonzero()[:20, 0]
    images, labels = drawn.images[400:][right], drawn.labels[400:][right]
    solve = exercise.solution(answer, defense, images, labels, epsilon)
    if solve is None:
        return
    moved = solve(defense, images.clone(), labels.clone(), epsilon)
    moved = require_budget(exercise, images, moved, 1.0)
    farthest = float(distances(moved - images, "l2").max())
    exercise.require(
        farthest <= epsilon + 1e-4, f"some digit moved by {farthest:.3f}; the budget is {epsilon}."
    )
    with torch.no_grad():
        said = defense(moved).argmax(1)
    refused, wrong = int((said == 10).sum()), int(((said != labels) & (said < 10)).sum())
    exercise.require(
        wrong >= 15,
        f"{wrong} of {len(images)} digits are misclassified and accepted, {refused} are refused; "
        "the bar is 15. Any wrong class will do, except the last, which means refused.",
    )
    exercise.confirm(f"{wrong} of {len(images)} digits are misclassified and accepted.")
