"""Checks of the exercises on analysis by synthesis: a sphere, a gradient, a floor, a challenge."""

from __future__ import annotations

from functools import cache

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.defenses.analysis_by_synthesis.inference import PriorSamples, within
from armsrace.defenses.analysis_by_synthesis.model import floored_softmax
from armsrace.exercises import Exercise
from armsrace.models import zoo
from armsrace.models.abs_vae import ClassDecoders, ClassVaes


def check_sphere(answer: object) -> None:
    """Check `shorten(latents, radius)`: latents (N, L) projected onto a ball."""
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
    exercise.require(torch.equal(found[1], latents[1]), "latents inside the ball must not change.")
    exercise.require(
        torch.allclose(found, within(latents, 1.0), atol=1e-6),
        "multiply each row that is too long by the radius divided by its length.",
    )
    exercise.confirm("The authors' code lost the signs here, and with them half of every axis.")


def check_lead(answer: object) -> None:
    """Check `lead_gradient(images, drawn, factors, first, second)`: ∇ₓ (f_b L_b − f_a L_a).

    images: (N, D). drawn: (N, K, D), the best reconstructions. factors: (K,), one per class.
    first, second: (N,) classes a and b. The result is (N, D).
    """
    generator = Generator().manual_seed(0)
    images, drawn = torch.rand(3, 5, generator=generator), torch.rand(3, 4, 5, generator=generator)
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 2, 0])
    factors = torch.tensor([1.0, 0.9, 1.1, 1.2])
    exercise = Exercise("The gradient of the lead")
    solve = exercise.solution(answer, images, drawn, factors, first, second)
    if solve is None:
        return
    found = solve(images, drawn, factors, first, second)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        "return one gradient of length D per image.",
    )
    rows = torch.arange(3)
    a, b = drawn[rows, first], drawn[rows, second]
    f_a, f_b = factors[first, None], factors[second, None]
    right = 2 * f_b * (images - b) - 2 * f_a * (images - a)
    exercise.require(
        not torch.allclose(found, -right),
        "the sign is wrong: take the second's cost minus the first's.",
    )
    exercise.require(
        not torch.allclose(found, right / 2), "the derivative of a square has a factor of 2."
    )
    exercise.require(
        not torch.allclose(found, 2 * (f_a * a - f_b * b), atol=1e-5),
        "the image cancels only where both factors are equal.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        "each cost has the gradient 2 (x − its reconstruction), times the factor of its class.",
    )
    exercise.confirm("With class factors, the image itself contributes to the gradient.")


def check_largest_floor(answer: object) -> None:
    """Check `largest_floor(logits, confidence)`: η (N,) at which the best class has exactly it.

    logits: (N, K), at most 0. confidence: in (1/K, 1). Where no floor leaves it, the result is 0.
    """
    logits = torch.tensor([[-1.0, -9.0, -12.0], [-4.0, -20.0, -7.0], [-5.0, -5.1, -5.2]]).double()
    exercise = Exercise("How high may the floor be?")
    solve = exercise.solution(answer, logits, 0.9)
    if solve is None:
        return
    found = solve(logits, 0.9)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,), "return one floor per image, (N,)."
    )
    exercise.require(
        bool((found >= 0).all()),
        "a floor is never negative: return 0 where even η = 0 does not reach the confidence.",
    )
    exercise.require(
        float(found[2]) == 0, "the third image does not have the confidence even without a floor."
    )
    for confidence in (0.9, 0.6):
        floors = solve(logits[:2], confidence)
        for row, floor in zip(logits[:2], floors.tolist(), strict=True):
            exercise.require(floor > 0, "some floor above 0 gives this confidence: solve for it.")
            reached = float(floored_softmax(row[None], floor).amax())
            exercise.require(
                abs(reached - confidence) < 1e-6,
                f"with your floor the confidence is {reached:.4f}, wanted {confidence:g}. The "
                "denominator contains the floor once per class.",
            )
    exercise.confirm("The more classes there are, the lower the floor must be.")


class StoredDrawings:
    """Analysis by synthesis without a search: the costs of stored drawings alone.

    Args:
        count: drawings for each of the ten classes.
    """

    travels = ("explain", "drawings", "latent_costs")

    def __init__(self, count: int) -> None:
        vaes = zoo.load("abs")
        assert isinstance(vaes, ClassVaes)
        stored = PriorSamples(ClassDecoders(vaes), count, Generator().manual_seed(7))
        self.drawings, self.latent_costs = stored.images, stored.latents.square().sum(1) / 2

    def explain(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Costs (N, 10) of images (N, 1, 28, 28), and each class's best drawing, (N, 10, 784)."""
        flat = images.flatten(1)
        squares = self.drawings.square().sum(2)[:, None] - 2 * flat @ self.drawings.transpose(1, 2)
        costs = squares + flat.square().sum(1)[:, None] + self.latent_costs
        least, at = costs.min(dim=2)
        return least.T, self.drawings[torch.arange(10)[:, None], at].transpose(0, 1)


@cache
def stored_drawings() -> StoredDrawings:
    """The model of the challenges: 300 drawings a class, built once."""
    return StoredDrawings(300)


def check_twelve_pixels(answer: object) -> None:
    """Check `attack(model, images, labels)`: images (N, 1, 28, 28) with at most 12 pixels changed.

    model: `StoredDrawings`. At least 30 of 60 digits must be misclassified.
    """
    exercise, pixels = Exercise("Twelve pixels"), 12
    model = stored_drawings()
    sample = datasets.load("mnist", "test").take(300, Generator().manual_seed(5))
    right = model.explain(sample.images)[0].argmin(1) == sample.labels
    images, labels = sample.images[right][:60], sample.labels[right][:60]
    solve = exercise.solution(answer, model, images[:1], labels[:1])
    if solve is None:
        return
    found = solve(model, images.clone(), labels.clone())
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return images of shape {tuple(images.shape)}.",
    )
    moved = found.detach()
    exercise.require(
        bool(((moved >= 0) & (moved <= 1)).all()),
        "some pixel is outside [0, 1] or is not a number.",
    )
    most = int((moved != images).flatten(1).sum(1).max())
    exercise.require(most <= pixels, f"some image has {most} changed pixels; the budget is 12.")
    fooled = int((model.explain(moved)[0].argmin(1) != labels).sum())
    exercise.require(
        fooled >= 30,
        f"{fooled} of {len(images)} digits are misclassified; the bar is 30. With both drawings "
        "held fixed, the lead is a sum over pixels: which pixels can lower it most, within [0, 1]?",
    )
    exercise.confirm(f"{fooled} of {len(images)} digits are misclassified.")
