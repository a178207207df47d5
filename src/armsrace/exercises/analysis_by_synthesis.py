"""Checks of the exercises on analysis by synthesis: a gradient, a sphere, confidences."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.defenses.analysis_by_synthesis.inference import within
from armsrace.defenses.analysis_by_synthesis.model import floored_softmax
from armsrace.exercises import Exercise


def check_lead(answer: object) -> None:
    """Check `lead_gradient(images, drawn, first, second)`: ∇ₓ (cost of second − cost of first).

    images: (N, D). drawn: (N, K, D), the best reconstructions. first, second: (N,) classes. The
    result is (N, D).
    """
    generator = torch.Generator().manual_seed(0)
    images, drawn = torch.rand(3, 5, generator=generator), torch.rand(3, 4, 5, generator=generator)
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 2, 0])
    exercise = Exercise("The gradient of the lead")
    solve = exercise.solution(answer, images, drawn, first, second)
    if solve is None:
        return
    found = solve(images, drawn, first, second)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        "return one gradient of length D per image.",
    )
    rows = torch.arange(3)
    right = 2 * (drawn[rows, first] - drawn[rows, second])
    exercise.require(
        not torch.allclose(found, -right),
        "the sign is wrong: take the second's cost minus the first's.",
    )
    exercise.require(
        not torch.allclose(found, right / 2), "the derivative of a square has a factor of 2."
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "each cost has the gradient 2 (x − its reconstruction); in their difference x cancels.",
    )
    exercise.confirm("The attack draws one class and erases the other.")


def check_sphere(answer: object) -> None:
    """Check `shorten(latents, radius)`: latents (N, L) projected into a sphere."""
    latents = torch.tensor([[3.0, -4.0], [-0.3, 0.4], [-6.0, 0.0]])
    exercise = Exercise("Stay on the sphere")
    solve = exercise.solution(answer, latents, 1.0)
    if solve is None:
        return
    found = solve(latents.clone(), 1.0)
    exercise.require(
        isinstance(found, Tensor) and found.shape == latents.shape,
        "return latents of the same shape.",
    )
    exercise.require(
        not torch.allclose(found.sign(), latents.abs().sign()),
        "the signs are lost: the square root of a square is never negative.",
    )
    exercise.require(
        torch.equal(found[1], latents[1]), "latents inside the sphere must not change."
    )
    exercise.require(
        torch.allclose(found, within(latents, 1.0), atol=1e-6),
        "multiply each row that is too long by radius / its length.",
    )
    exercise.confirm("The authors' code lost the signs here, and with them half of every axis.")


def check_confidences(answer: object) -> None:
    """Check `confidences(logits, floor)`: (e^z + η) / Σ (e^z + η), (N, K), for logits z <= 0."""
    logits = torch.tensor([[-1.0, -9.0, -12.0], [-300.0, -310.0, -320.0]])
    exercise = Exercise("Confidence with a floor")
    solve = exercise.solution(answer, logits, 1e-3)
    if solve is None:
        return
    found = solve(logits, 1e-3)
    exercise.require(
        isinstance(found, Tensor) and found.shape == logits.shape, "return K confidences per image."
    )
    exercise.require(bool(torch.isfinite(found).all()), "some confidences are not finite.")
    exercise.require(
        torch.allclose(found.sum(dim=1), torch.ones(2)), "the confidences of an image sum to 1."
    )
    exercise.require(
        bool(found[1].amax() < 0.5),
        "if no class explains the image, the floor must decide: add it to each e^z.",
    )
    exercise.require(
        torch.allclose(found, floored_softmax(logits, 1e-3), atol=1e-5),
        "this is not the formula yet.",
    )
    exercise.confirm("Far from all digits, the model says that it does not know.")
