"""Checks of chapter 2: units, sampling error, and a gradient through a quantizer."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from armsrace.exercises import Exercise, ExerciseError


def check_unit_budget(answer: object) -> None:
    """Judge `unit_budget(epsilon, low, high)`: an L∞ budget on [low, high], moved to [0, 1]."""
    exercise = Exercise("2.1")
    solve = exercise.solution(answer, 16, 0, 255)
    if solve is None:
        return
    cases = ((16, 0, 255), (0.3, -0.5, 0.5), (0.3, -1, 1))
    gray, centered, wide = (float(solve(*case)) for case in cases)
    exercise.require(
        abs(gray - 16 / 255) < 1e-9,
        f"16 of 255 gray levels came out as {gray:g}; divide by the width of the box.",
    )
    exercise.require(
        abs(centered - 0.3) < 1e-9,
        f"0.3 on [−0.5, 0.5] came out as {centered:g}; a budget is a difference of two pixels, "
        "so it does not matter where the box lies.",
    )
    exercise.require(
        abs(wide - 0.15) < 1e-9,
        f"0.3 on [−1, 1] came out as {wide:g}; that box is twice as wide as ours.",
    )
    exercise.confirm("A budget scales with the width of the box and ignores where the box lies.")


def check_images_needed(answer: object) -> None:
    """Judge `images_needed(accuracy, half_width)`: n for a 95 % interval of ± half_width."""
    exercise = Exercise("2.2")
    solve = exercise.solution(answer, 0.5, 0.05)
    if solve is None:
        return
    found = solve(0.5, 0.05)
    exercise.require(found == int(found), "images come whole: round up.")
    exercise.require(found != 384, "384 is a little too few: round up, not down.")
    exercise.require(
        found == 385,
        f"±5 points at 50 % accuracy took {found:g} of your images; solve 1.96 √(p(1 − p)/n) = h "
        "for n.",
    )
    for accuracy, half_width in ((0.9, 0.01), (0.99, 0.002)):
        found = solve(accuracy, half_width)
        expected = math.ceil(1.96**2 * accuracy * (1 - accuracy) / half_width**2)
        exercise.require(
            abs(found - expected) <= 1e-3 * expected,
            f"±{half_width:.1%} at {accuracy:.0%} took {found:g} of your images; p(1 − p) falls as "
            "p nears 1, and n grows with the square of the precision.",
        )
    exercise.confirm("Half the interval costs four times the images.")


def _quantize(images: Tensor) -> Tensor:
    return (images * 15).round() / 15


def check_straight_through(answer: object) -> None:
    """Judge `straight_through(quantize)`: forward the quantizer, backward the identity.

    quantize and what is returned are functions (N, C, H, W) to the same shape.
    """
    exercise = Exercise("2.3")
    solve = exercise.solution(answer, _quantize)
    if solve is None:
        return
    passed = solve(_quantize)
    exercise.require(callable(passed), "return a function of images, not images.")
    images = torch.rand(2, 1, 4, 4, generator=Generator().manual_seed(4)).requires_grad_()
    slopes = torch.randn(2, 1, 4, 4, generator=Generator().manual_seed(5))
    output = passed(images)
    exercise.require(
        torch.allclose(output, _quantize(images.detach()), atol=1e-6),
        "forward, the result must be the quantizer's: the attack is judged on the real model.",
    )
    if not output.requires_grad:
        raise ExerciseError("Exercise 2.3: the result must stay attached to the images.")
    (gradient,) = torch.autograd.grad((slopes * output).sum(), images)
    exercise.require(
        bool(gradient.any()),
        "the gradient is still zero: detach what the quantizer changed, not the image.",
    )
    exercise.require(
        torch.allclose(gradient, slopes, atol=1e-6),
        "backward, the result must act as the identity: slope 1 in each pixel.",
    )
    exercise.confirm("The mask is off, and the model is unchanged.")
