"""Checks of chapter 17: a gradient without unrolling, a sphere, confidences with a floor."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.defenses.analysis_by_synthesis import tempered
from armsrace.defenses.class_search import within
from armsrace.exercises import Exercise


def check_lead(answer: object) -> None:
    """Judge `lead_gradient(images, drawn, first, second)`: ∇ₓ (cost of second − cost of first).

    images: (N, D). drawn: (N, K, D), the best explanations. first, second: (N,) classes. The
    answer is (N, D).
    """
    generator = torch.Generator().manual_seed(0)
    images, drawn = torch.rand(3, 5, generator=generator), torch.rand(3, 4, 5, generator=generator)
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 2, 0])
    exercise = Exercise("17.1")
    solve = exercise.solution(answer, images, drawn, first, second)
    if solve is None:
        return
    found = solve(images, drawn, first, second)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        "return one row of D slopes an image.",
    )
    rows = torch.arange(3)
    right = 2 * (drawn[rows, first] - drawn[rows, second])
    exercise.require(
        not torch.allclose(found, -right),
        "the other way round: the second's cost less the first's.",
    )
    exercise.require(
        not torch.allclose(found, right / 2), "the derivative of a square has a factor of 2."
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "each cost has the slope 2 (x − its drawing); in their difference x cancels.",
    )
    exercise.confirm("To fool it is to draw the one class and to rub out the other.")


def check_sphere(answer: object) -> None:
    """Judge `shorten(latents, radius)`: latents (N, L) within a sphere, their directions kept."""
    latents = torch.tensor([[3.0, -4.0], [-0.3, 0.4], [-6.0, 0.0]])
    exercise = Exercise("17.2")
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
        "the signs are gone: the square root of a square is no longer negative.",
    )
    exercise.require(
        torch.equal(found[1], latents[1]), "what lies within the sphere stays where it is."
    )
    exercise.require(
        torch.allclose(found, within(latents, 1.0), atol=1e-6),
        "scale each row that is too long by radius / its length.",
    )
    exercise.confirm("The authors' code lost the signs here, and with them half of every axis.")


def check_confidences(answer: object) -> None:
    """Judge `confidences(logits, floor)`: (e^z + η) / Σ (e^z + η), (N, K), of logits at most 0."""
    logits = torch.tensor([[-1.0, -9.0, -12.0], [-300.0, -310.0, -320.0]])
    exercise = Exercise("17.3")
    solve = exercise.solution(answer, logits, 1e-3)
    if solve is None:
        return
    found = solve(logits, 1e-3)
    exercise.require(
        isinstance(found, Tensor) and found.shape == logits.shape, "return K confidences an image."
    )
    exercise.require(bool(torch.isfinite(found).all()), "some are not finite.")
    exercise.require(
        torch.allclose(found.sum(dim=1), torch.ones(2)), "the confidences of an image sum to 1."
    )
    exercise.require(
        bool(found[1].amax() < 0.5),
        "where no class explains anything the floor must decide: add it to each e^z.",
    )
    exercise.require(
        torch.allclose(found, tempered(logits, 1e-3), atol=1e-5), "not the formula yet."
    )
    exercise.confirm("Far from all digits it says that it does not know.")
