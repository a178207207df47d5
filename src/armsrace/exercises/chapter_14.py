"""Checks of chapter 14: the best of the restarts, a straight-through gradient, two distances."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.exercises import Exercise


def check_best(answer: object) -> None:
    """Judge `best_of(drawn, images)`: for each image the drawing of least squared error.

    drawn: (N, R, C, H, W), R restarts an image. images: (N, C, H, W). Returns (N, C, H, W).
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 2, 2, generator=generator)
    away = torch.tensor([[0.5, 0.3, 0.1, 0.2], [0.1, 0.4, 0.3, 0.2], [0.6, 0.2, 0.4, 0.9]])
    drawn = images[:, None] + away[..., None, None, None]
    exercise = Exercise("14.1")
    solve = exercise.solution(answer, drawn, images)
    if solve is None:
        return
    found = solve(drawn, images)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return one drawing an image, a tensor of shape {tuple(images.shape)}.",
    )
    total = (drawn - images[:, None]).square().sum(dim=(0, 2, 3, 4))
    exercise.require(
        not torch.allclose(found, drawn[:, total.argmin()]),
        "that is one restart for all images: each image has its own best.",
    )
    exercise.require(
        not torch.allclose(found, drawn.mean(dim=1)),
        "the mean of several drawings is none that the generator draws.",
    )
    wanted = drawn[torch.arange(3), away.argmin(dim=1)]
    exercise.require(
        torch.allclose(found, wanted), "take the drawing of the least squared error to its image."
    )
    exercise.confirm("The choice itself has no gradient: it jumps from one drawing to another.")


def check_identity(answer: object) -> None:
    """Judge `identity_backward(purify, images)`: values of purify, gradient of the identity.

    purify: images (N, C, H, W) to images, without a gradient. images may require a gradient.
    """
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def purify(batch: Tensor) -> Tensor:
        return (3 * batch).round() / 3

    exercise = Exercise("14.2")
    solve = exercise.solution(answer, purify, images.clone())
    if solve is None:
        return
    moving = images.clone().requires_grad_()
    found = solve(purify, moving)
    exercise.require(
        isinstance(found, Tensor) and torch.allclose(found, purify(images), atol=1e-6),
        "the values must be those of purify: only the gradient is pretended.",
    )
    exercise.require(found.requires_grad, "what you return hangs on no graph.")
    weights = torch.arange(12.0).view_as(images)
    (slope,) = torch.autograd.grad((weights * found).sum(), moving)
    exercise.require(
        bool(slope.abs().sum() > 0),
        "the gradient is zero, as plain autograd's: add the images, and take them off again "
        "without a graph.",
    )
    exercise.require(
        torch.allclose(slope, weights), "the gradient must pass backwards as it is, times 1."
    )
    exercise.confirm("Two tensors cancel in the values, and one of them stays in the gradient.")


def check_sizes(answer: object) -> None:
    """Judge `sizes(change)`: (‖δ‖₂, mean squared error a pixel), each (N,), of (N, C, H, W)."""
    change = torch.zeros(3, 1, 4, 5)
    change[0], change[1, 0, 0, 0], change[2, 0, 1] = 0.1, 0.5, -0.2
    exercise = Exercise("14.3")
    solve = exercise.solution(answer, change)
    if solve is None:
        return
    found = solve(change)
    exercise.require(
        isinstance(found, (tuple, list)) and len(found) == 2,
        "return two tensors: the lengths and the mean squared errors.",
    )
    length, error = found
    exercise.require(
        isinstance(length, Tensor) and isinstance(error, Tensor)
        and length.shape == error.shape == (3,),
        "return one number an image, tensors of shape (3,).",
    )  # fmt: skip
    squares = change.square().flatten(1)
    exercise.require(
        not torch.allclose(length, squares.sum(dim=1)), "‖δ‖₂ is the root of the sum of squares."
    )
    exercise.require(
        torch.allclose(length, squares.sum(dim=1).sqrt()), "the first is the Euclidean length ‖δ‖₂."
    )
    exercise.require(
        not torch.allclose(error, squares.mean(dim=1).sqrt()),
        "that is the root of the mean squared error: leave the root off.",
    )
    exercise.require(
        torch.allclose(error, squares.mean(dim=1)), "the second is the mean of the squares."
    )
    exercise.confirm("One grows with the number of pixels, the other does not: always say which.")
