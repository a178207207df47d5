"""Checks of chapter 15: a multiplier's update, the largest jump on a line, a pair by halving."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.exercises import Exercise


def check_price(answer: object) -> None:
    """Judge `price(multiplier, distances, epsilon, rate)`: the next multiplier (N,).

    multiplier, distances: (N,). It grows by rate times the excess over epsilon, never below 0.
    """
    multiplier = torch.tensor([1.0, 1.0, 0.1, 0.0])
    distances = torch.tensor([3.5, 1.5, 0.5, 0.5])
    exercise = Exercise("15.1")
    solve = exercise.solution(answer, multiplier.clone(), distances, 1.5, 0.3)
    if solve is None:
        return
    found = solve(multiplier.clone(), distances, 1.5, 0.3)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (4,),
        "return one multiplier a pair, a tensor of shape (4,).",
    )
    exercise.require(
        float(found[0]) > 1, "a pair that is too far apart must pay more: the multiplier rises."
    )
    exercise.require(
        bool((found >= 0).all()),
        "a multiplier below 0 would reward distance: it stops at 0.",
    )
    expected = torch.tensor([1.6, 1.0, 0.0, 0.0])
    exercise.require(
        torch.allclose(found, expected, atol=1e-5),
        f"from {multiplier.tolist()} at distances {distances.tolist()}, ε = 1.5 and rate 0.3 come "
        f"{[round(value, 2) for value in expected.tolist()]}.",
    )
    exercise.confirm("At ε itself it stands still: there the constraint is just met.")


def check_jump(answer: object) -> None:
    """Judge `largest_jump(probabilities)`: (N, points, K) to the largest total variation (N,)."""
    steady = torch.linspace(1, 0, 5)
    sudden = torch.tensor([1.0, 1.0, 0.1, 0.0, 0.0])
    back = torch.tensor([0.2, 0.2, 0.2, 0.9, 0.9])
    first = torch.stack([steady, sudden, back])
    probabilities = torch.stack([first, 0.5 * (1 - first), 0.5 * (1 - first)], dim=2)
    exercise = Exercise("15.2")
    solve = exercise.solution(answer, probabilities)
    if solve is None:
        return
    found = solve(probabilities)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one number a line, a tensor of shape (3,).",
    )
    expected = torch.tensor([0.25, 0.9, 0.7])
    exercise.require(
        not torch.allclose(found, 2 * expected, atol=1e-5),
        "halve the sum: what one class loses the others gain, and it would count twice.",
    )
    ends = (probabilities[:, -1] - probabilities[:, 0]).abs().sum(dim=1) / 2
    exercise.require(
        not torch.allclose(found, ends, atol=1e-5),
        "compare neighbours on the line, not its two ends.",
    )
    exercise.require(
        torch.allclose(found, expected, atol=1e-5),
        "for each two neighbouring points sum |difference| / 2 over the classes; take the largest, "
        "whether the first class rises or falls.",
    )
    exercise.confirm("1 is a cliff between two points; on a smooth line it shrinks with the gap.")


def check_halving(answer: object) -> None:
    """Judge `halve(classifier, decoder, first, second, epsilon)`: two latents (L,).

    Their images must be within epsilon and read as two classes, both on the line given.
    """
    first, second = torch.tensor([-3.0, 1.0]), torch.tensor([2.0, 3.0])
    exercise = Exercise("15.3")

    def decoder(latents: Tensor) -> Tensor:
        return torch.sigmoid(latents @ torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.5, 1.0]]))

    def classifier(images: Tensor) -> Tensor:
        return torch.stack([0.3 - images[:, 0], images[:, 0] - 0.3], dim=1)

    solve = exercise.solution(answer, classifier, decoder, first, second, 0.01)
    if solve is None:
        return
    for epsilon, ends in ((0.01, (first, second)), (0.05, (second, first))):
        found = solve(classifier, decoder, *ends, epsilon)
        exercise.require(
            isinstance(found, (tuple, list, Tensor)) and len(found) == 2,
            "return two latents.",
        )
        one, two = (torch.as_tensor(latents) for latents in found)
        exercise.require(
            one.shape == two.shape == (2,), "return latents of shape (L,), as they came."
        )
        images = decoder(torch.stack([one, two]))
        read = classifier(images).argmax(dim=1)
        exercise.require(
            bool(read[0] != read[1]),
            "the two you return are read as one class: keep the half whose ends disagree.",
        )
        gap = float((images[0] - images[1]).norm())
        exercise.require(
            gap <= epsilon,
            f"the images are {gap:.3f} apart, more than {epsilon}: measure images, not latents.",
        )
        along = torch.stack([one, two]) - ends[0]
        line = ends[1] - ends[0]
        aside = along[:, 0] * line[1] - along[:, 1] * line[0]
        exercise.require(
            bool((aside.abs() < 1e-3).all()), "stay on the line between the two latents given."
        )
    exercise.confirm("It works for any continuous decoder and any classifier with two classes.")
