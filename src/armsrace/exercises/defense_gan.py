"""Checks of the exercises on Defense-GAN: restarts, a gradient, distances, a cheaper search."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace import datasets
from armsrace.defenses import LatentSearch
from armsrace.defenses.latent_projection import invert
from armsrace.exercises import Exercise, Metered
from armsrace.models import zoo


def check_best(answer: object) -> None:
    """Check `best_of(drawn, images)`: each image's reconstruction with the smallest squared error.

    drawn: (N, R, C, H, W), R restarts per image. images: (N, C, H, W). The result is
    (N, C, H, W).
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 2, 2, generator=generator)
    offsets = torch.tensor([[0.5, 0.3, 0.1, 0.2], [0.1, 0.4, 0.3, 0.2], [0.6, 0.2, 0.4, 0.9]])
    drawn = images[:, None] + offsets[..., None, None, None]
    exercise = Exercise("The best of the restarts")
    solve = exercise.solution(answer, drawn, images)
    if solve is None:
        return
    found = solve(drawn, images)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return one reconstruction per image, a tensor of shape {tuple(images.shape)}.",
    )
    total = (drawn - images[:, None]).square().sum(dim=(0, 2, 3, 4))
    exercise.require(
        not torch.allclose(found, drawn[:, total.argmin()]),
        "that is the same restart for all images: each image has its own best one.",
    )
    exercise.require(
        not torch.allclose(found, drawn.mean(dim=1)),
        "the mean of several reconstructions is not an output of the generator.",
    )
    wanted = drawn[torch.arange(3), offsets.argmin(dim=1)]
    exercise.require(
        torch.allclose(found, wanted),
        "take the reconstruction with the smallest squared error to its image.",
    )
    exercise.confirm(
        "The choice itself has no gradient: it jumps from one reconstruction to another."
    )


def check_identity(answer: object) -> None:
    """Check `identity_backward(purify, images)`: values of purify, gradient of the identity.

    purify: images (N, C, H, W) to images, without a gradient. images: may require a gradient.
    """
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def purify(batch: Tensor) -> Tensor:
        return (3 * batch).round() / 3

    exercise = Exercise("The identity, backwards")
    solve = exercise.solution(answer, purify, images.clone())
    if solve is None:
        return
    leaf = images.clone().requires_grad_()
    found = solve(purify, leaf)
    exercise.require(
        isinstance(found, Tensor) and torch.allclose(found, purify(images), atol=1e-6),
        "the values must be those of purify: only the gradient is replaced.",
    )
    exercise.require(found.requires_grad, "your result has no gradient.")
    weights = torch.arange(12.0).view_as(images)
    (grad,) = torch.autograd.grad((weights * found).sum(), leaf)
    exercise.require(
        bool(grad.abs().sum() > 0),
        "the gradient is zero: start from the images, and add a difference that is detached.",
    )
    exercise.require(torch.allclose(grad, weights), "the gradient must pass backward unchanged.")
    exercise.confirm("Two tensors cancel in the values, and one of them remains in the gradient.")


def check_sizes(answer: object) -> None:
    """Check `sizes(change)`: (‖δ‖₂, mean squared error per pixel), each (N,), for (N, C, H, W)."""
    delta = torch.zeros(3, 1, 4, 5)
    delta[0], delta[1, 0, 0, 0], delta[2, 0, 1] = 0.1, 0.5, -0.2
    exercise = Exercise("Two ways to say how far")
    solve = exercise.solution(answer, delta)
    if solve is None:
        return
    found = solve(delta)
    exercise.require(
        isinstance(found, (tuple, list)) and len(found) == 2,
        "return two tensors: the norms and the mean squared errors.",
    )
    length, error = found
    exercise.require(
        isinstance(length, Tensor) and isinstance(error, Tensor)
        and length.shape == error.shape == (3,),
        "return one number per image, tensors of shape (3,).",
    )  # fmt: skip
    squares = delta.square().flatten(1)
    exercise.require(
        not torch.allclose(length, squares.sum(dim=1)),
        "‖δ‖₂ is the square root of the sum of squares.",
    )
    exercise.require(
        torch.allclose(length, squares.sum(dim=1).sqrt()), "the first is the Euclidean norm ‖δ‖₂."
    )
    exercise.require(
        not torch.allclose(error, squares.mean(dim=1).sqrt()),
        "that is the root of the mean squared error: omit the root.",
    )
    exercise.require(
        torch.allclose(error, squares.mean(dim=1)), "the second is the mean of the squares."
    )
    exercise.confirm(
        "One grows with the number of pixels, and the other does not. Always say which one you use."
    )


def check_closer(answer: object) -> None:
    """Check `closer(draw, images)`: latents (N, 128) that draw the images (N, 1, 28, 28).

    draw: the generator, which may draw 200 images per digit. The mean squared error of eight digits
    must be at most three quarters of that of five restarts of 39 steps, none of them dropped.
    """
    exercise = Exercise("Closer, for fewer drawings")
    generator = zoo.load("defense-gan").requires_grad_(False)
    images = datasets.load("mnist", "test").take(8, torch.Generator().manual_seed(1701)).images
    draw = Metered(exercise, generator, 200 * len(images))
    solve = exercise.solution(answer, draw, images)
    if solve is None:
        return
    draw.shown = 0
    found = solve(draw, images.clone())
    exercise.require(
        isinstance(found, Tensor) and found.shape == (len(images), 128),
        f"return one latent per image, a tensor of shape ({len(images)}, 128).",
    )
    plain = invert(generator, images, LatentSearch(128, restarts=5, steps=39, halving=0.0))
    with torch.no_grad():
        error, bar = (
            float((generator(z) - images).square().mean()) for z in (found, plain.latents)
        )
    exercise.require(
        error <= 0.75 * bar,
        f"your mean squared error is {error:.4f}, that of five full restarts {bar:.4f}; reach "
        f"{0.75 * bar:.4f}. Most restarts fall behind early: drop them, and spend the drawings on "
        "the others.",
    )
    exercise.confirm(f"{error:.4f} with at most 200 drawings; five full restarts: {bar:.4f}.")
