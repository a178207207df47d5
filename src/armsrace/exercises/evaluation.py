"""Checks of the exercises on evaluation: units, sampling error, straight-through gradients, a
sealed network.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.exercises import Exercise, ExerciseError, Metered, require_budget
from armsrace.models import zoo


def check_unit_budget(answer: object) -> None:
    """Check `unit_budget(epsilon, low, high)`: an L∞ budget on [low, high], converted to [0, 1]."""
    exercise = Exercise("One scale")
    solve = exercise.solution(answer, 16, 0, 255)
    if solve is None:
        return
    cases = ((16, 0, 255), (0.3, -0.5, 0.5), (0.3, -1, 1))
    gray, centered, wide = (float(solve(*case)) for case in cases)
    exercise.require(
        abs(gray - 16 / 255) < 1e-9,
        f"for 16 of 255 gray levels you get {gray:g}; divide by the width of the range.",
    )
    exercise.require(
        abs(centered - 0.3) < 1e-9,
        f"for 0.3 on [−0.5, 0.5] you get {centered:g}; a budget is a difference of two pixels, "
        "so the position of the range does not matter.",
    )
    exercise.require(
        abs(wide - 0.15) < 1e-9,
        f"for 0.3 on [−1, 1] you get {wide:g}; that range is twice as wide as [0, 1].",
    )
    exercise.confirm("A budget scales with the width of the range; the position does not matter.")


def check_images_needed(answer: object) -> None:
    """Check `images_needed(accuracy, half_width)`: n for a 95 % interval of ± half_width."""
    exercise = Exercise("How many images?")
    solve = exercise.solution(answer, 0.5, 0.05)
    if solve is None:
        return
    found = solve(0.5, 0.05)
    exercise.require(found == int(found), "the number of images is an integer: round up.")
    exercise.require(found != 384, "384 is a little too few: round up, not down.")
    exercise.require(
        found == 385,
        f"your answer for ±5 points at 50 % accuracy is {found:g} images; solve "
        "1.96 √(p(1 − p)/n) = h for n.",
    )
    for accuracy, half_width in ((0.9, 0.01), (0.99, 0.002)):
        found = solve(accuracy, half_width)
        expected = math.ceil(1.96**2 * accuracy * (1 - accuracy) / half_width**2)
        exercise.require(
            abs(found - expected) <= 1e-3 * expected,
            f"your answer for ±{half_width:.1%} at {accuracy:.0%} is {found:g} images; p(1 − p) "
            "decreases as p approaches 1, and n grows with the square of the precision.",
        )
    exercise.confirm("Half the interval takes four times as many images.")


def _quantize(images: Tensor) -> Tensor:
    """Images with 16 gray levels."""
    return (images * 15).round() / 15


def check_straight_through(answer: object) -> None:
    """Check `straight_through(quantize)`: the quantizer forward, the identity backward.

    Both `quantize` and the result are functions from (N, C, H, W) to the same shape.
    """
    exercise = Exercise("Take a mask off")
    solve = exercise.solution(answer, _quantize)
    if solve is None:
        return
    through = solve(_quantize)
    exercise.require(callable(through), "return a function of images, not images.")
    images = torch.rand(2, 1, 4, 4, generator=Generator().manual_seed(4)).requires_grad_()
    upstream = torch.randn(2, 1, 4, 4, generator=Generator().manual_seed(5))
    output = through(images)
    exercise.require(
        torch.allclose(output, _quantize(images.detach()), atol=1e-6),
        "the forward pass must be the quantizer: success is measured on the real model.",
    )
    if not output.requires_grad:
        raise ExerciseError(
            "Exercise “Take a mask off”: the result must depend on the images in autograd."
        )
    (grad,) = torch.autograd.grad((upstream * output).sum(), images)
    exercise.require(
        bool(grad.any()),
        "the gradient is still zero: detach the quantizer's change, not the image.",
    )
    exercise.require(
        torch.allclose(grad, upstream, atol=1e-6),
        "the backward pass must be the identity: derivative 1 for each pixel.",
    )
    exercise.confirm("The gradient is back, and the model is unchanged.")


def check_sealed(answer: object) -> None:
    """Check `attack(classify, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε.

    classify: images to classes (N,), without a gradient. Each of 60 digits may be shown to it 20
    times. At least half of them must be misclassified.
    """
    exercise, epsilon = Exercise("A sealed network"), 0.2
    sample = datasets.load("mnist", "test").take(60, Generator().manual_seed(577))
    model = zoo.load("s3-cnn")

    def classify(images: Tensor) -> Tensor:
        with torch.no_grad():
            return model(images).argmax(dim=1)

    metered = Metered(exercise, classify, 20 * len(sample))
    solve = exercise.solution(answer, metered, sample.images, sample.labels, epsilon)
    if solve is None:
        return
    metered.shown = 0
    found = solve(metered, sample.images.clone(), sample.labels.clone(), epsilon)
    moved = require_budget(exercise, sample.images, found, epsilon)
    fooled = int((classify(moved) != sample.labels).sum())
    exercise.require(
        fooled >= 30,
        f"{fooled} of 60 digits are misclassified; the bar is 30. Attack visible networks, "
        "several at once, and use the queries to choose among the results.",
    )
    exercise.confirm(
        f"{fooled} of 60 digits are misclassified, by a network that showed no gradient."
    )
