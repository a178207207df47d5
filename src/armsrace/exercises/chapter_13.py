"""Checks of chapter 13: what counts as handled, the Jensen–Shannon divergence, a drawn reformer."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from armsrace.defenses import jensen_shannon
from armsrace.exercises import Exercise


def check_count(answer: object) -> None:
    """Judge `count_right(read, refused, truth)`: (clean accuracy, share handled), two numbers.

    read, truth: classes (N,). refused: (N,) bool. The first counts what is let through and read
    rightly, the second what is refused or read rightly.
    """
    truth = torch.tensor([0, 1, 2, 3, 4])
    read = torch.tensor([0, 1, 2, 9, 9])
    refused = torch.tensor([False, False, True, True, False])
    exercise = Exercise("13.1")
    solve = exercise.solution(answer, read, refused, truth)
    if solve is None:
        return
    found = solve(read, refused, truth)
    exercise.require(
        isinstance(found, (tuple, list, Tensor)) and len(found) == 2,
        "return two numbers: the clean accuracy and the share handled.",
    )
    clean, handled = (float(share) for share in found)
    exercise.require(
        max(clean, handled) <= 1, "return shares, between 0 and 1, not counts or percentages."
    )
    exercise.require(
        not math.isclose(clean, 0.6, abs_tol=1e-6),
        "a clean image that is refused is lost, even where it would have been read rightly.",
    )
    exercise.require(
        math.isclose(clean, 0.4, abs_tol=1e-6),
        f"two of the five are let through and read rightly; your clean accuracy is {clean:.2f}.",
    )
    exercise.require(
        not math.isclose(handled, 0.6, abs_tol=1e-6),
        "a refused adversarial image is stopped, whatever would have been read in it.",
    )
    exercise.require(
        math.isclose(handled, 0.8, abs_tol=1e-6),
        f"all but the last are refused or read rightly; your share is {handled:.2f}.",
    )
    exercise.confirm("Neither number alone says anything: refusing everything handles everything.")


def check_divergence(answer: object) -> None:
    """Judge `divergence(first, second, temperature)`: Jensen–Shannon, nats, (N,).

    first, second: logits (N, K), divided by the temperature before the softmax.
    """
    first = torch.tensor([[2.0, 0.0, -1.0], [300.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    second = torch.tensor([[0.0, 1.0, 0.0], [0.0, 300.0, 0.0], [1.0, 1.0, 0.0]])
    exercise = Exercise("13.2")
    solve = exercise.solution(answer, first, second, 1.0)
    if solve is None:
        return
    found = solve(first, second, 1.0)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one number a row, a tensor of shape (3,).",
    )
    exercise.require(
        bool(torch.isfinite(found).all()),
        "a probability that rounds to 0 gives 0 · log 0: use torch.xlogy, or log_softmax.",
    )
    exercise.require(
        not math.isclose(float(found[1]), 1.0, abs_tol=1e-3),
        "that is in bits: nats use the natural logarithm.",
    )
    exercise.require(
        math.isclose(float(found[1]), math.log(2), abs_tol=1e-3),
        f"two opposite certainties are log 2 = {math.log(2):.3f} nats apart, not "
        f"{float(found[1]):.3f}: mind the halves.",
    )
    for temperature in (1.0, 10.0):
        logs = [(part / temperature).log_softmax(dim=1) for part in (first, second)]
        exercise.require(
            torch.allclose(solve(first, second, temperature), jensen_shannon(*logs), atol=1e-4),
            f"wrong at temperature {temperature:g}: divide the logits, take both divergences to "
            "the mean m of the two, and halve each.",
        )
    exercise.confirm("It is symmetric, and never above log 2.")


def check_expected(answer: object) -> None:
    """Judge `expected_logits(classifier, reformers)`: a callable, images to mean logits (N, K)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 2, 2, generator=generator)
    weights = torch.randn(4, 3, generator=generator)
    exercise = Exercise("13.3")

    def classifier(batch: Tensor) -> Tensor:
        return (batch.flatten(1) @ weights) ** 2

    reformers: list[Callable[[Tensor], Tensor]] = [torch.relu, torch.cos, torch.square]
    solve = exercise.solution(answer, classifier, reformers)
    if solve is None:
        return
    mean = solve(classifier, reformers)
    exercise.require(callable(mean), "return a function of images: attacks take a callable.")
    moving = images.clone().requires_grad_()
    found = mean(moving)
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
        "every reformer must count alike, and none be drawn.",
    )
    exercise.require(found.requires_grad, "keep the gradient: an attack needs it.")
    exercise.confirm("What is drawn by lot is beaten on average, since the average has a gradient.")
