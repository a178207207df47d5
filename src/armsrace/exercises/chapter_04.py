"""Checks of chapter 4: projection onto the L2 ball, the destruction rate, an averaged model."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.attacks.norms import project
from armsrace.exercises import Exercise, ExerciseError


def check_project_l2(answer: object) -> None:
    """Judge `project_l2(perturbations, epsilon)`: (N, C, H, W) to the L2 ball of each image."""
    draws = Generator().manual_seed(4)
    sizes = torch.tensor([0.3, 1.0, 5.0, 0.0]).view(-1, 1, 1, 1)
    directions = torch.randn(4, 1, 5, 5, generator=draws)
    directions = directions / directions.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    perturbations = sizes * directions
    exercise = Exercise("4.1")
    solve = exercise.solution(answer, perturbations, 1.0)
    if solve is None:
        return
    found = solve(perturbations, 1.0)
    exercise.require(
        isinstance(found, Tensor) and found.shape == perturbations.shape,
        f"return a tensor of shape {tuple(perturbations.shape)}.",
    )
    exercise.require(
        bool(torch.isfinite(found).all()),
        "a perturbation of length 0 must stay 0: do not divide by its length.",
    )
    lengths = found.flatten(1).norm(dim=1)
    exercise.require(
        abs(float(lengths[0]) - 0.3) < 1e-5,
        f"a point inside the ball is its own projection; the first has length 0.3 and came "
        f"out with {float(lengths[0]):.3g}. Measure each image's own length.",
    )
    exercise.require(
        bool(lengths.max() < 1 + 1e-5),
        f"the longest came out with length {float(lengths.max()):.3g}, outside the ball.",
    )
    exercise.require(
        torch.allclose(found, project(perturbations, "l2", 1.0), atol=1e-5),
        "the nearest point of the ball lies on the line to its centre: scale, do not clip pixels.",
    )
    exercise.confirm("Long steps come back to the sphere along their own direction.")


def check_destruction(answer: object) -> None:
    """Judge `destruction(clean, attacked, transformed)`: Kurakin et al. 2017, equation 1.

    All (N,) bool: whether the clean image, the adversarial one and the transformed adversarial one
    are classified right.
    """
    clean = torch.tensor([True, True, True, True, True, False, False, True])
    attacked = torch.tensor([False, False, False, False, True, False, False, True])
    transformed = torch.tensor([True, False, False, False, True, True, True, True])
    exercise = Exercise("4.2")
    solve = exercise.solution(answer, clean, attacked, transformed)
    if solve is None:
        return
    found = solve(clean, attacked, transformed)
    value = float(found)
    hints = {
        5 / 8: "that is the accuracy on all transformed images.",
        3 / 6: "an image that was wrong when clean was not destroyed by the transformation.",
        1 / 8: "divide by the images that were successfully attacked, not by all.",
        1 / 6: "divide by the images that were right when clean and wrong when attacked.",
        3 / 4: "that is the share that survives the transformation; count what it undoes.",
    }
    for wrong, hint in hints.items():
        exercise.require(abs(value - wrong) > 1e-6, hint)
    exercise.require(
        abs(value - 1 / 4) < 1e-6,
        f"here 4 images are right when clean and wrong when attacked, and 1 of those is right "
        f"again when transformed; your rate is {value:.3g}.",
    )
    exercise.confirm("Accuracy on photographs mixes three causes; this rate keeps one.")


def check_averaged(answer: object) -> None:
    """Judge `averaged(model, transform, samples)`: a model whose logits are a mean over draws.

    The answer is a callable images → logits: the mean of model(transform(images)) over `samples`
    fresh draws of the transformation, with a gradient in the images.
    """
    weights = torch.randn(9, 3, generator=Generator().manual_seed(6))
    draws: list[float] = []

    def transform(images: Tensor) -> Tensor:
        draws.append(float(len(draws)))
        return images + draws[-1]

    def model(images: Tensor) -> Tensor:
        return images.flatten(1) ** 2 @ weights

    exercise = Exercise("4.3")
    solve = exercise.solution(answer, model, transform, 4)
    if solve is None:
        return
    found = solve(model, transform, 4)
    exercise.require(callable(found), "return a function of images, not logits.")
    images = torch.rand(2, 1, 3, 3, generator=Generator().manual_seed(7)).requires_grad_()
    draws.clear()
    logits = found(images)
    exercise.require(
        len(draws) == 4,
        f"asked for 4 draws, your model made {len(draws)} for one batch; draw anew at each "
        "call, not once for all.",
    )
    expected = torch.stack([model(images + shift) for shift in range(4)]).mean(dim=0)
    swapped = model(images + 1.5)
    exercise.require(
        not torch.allclose(logits, swapped, atol=1e-4),
        "average the logits, not the images: the model must see whole photographs.",
    )
    exercise.require(torch.allclose(logits, expected, atol=1e-4), "that is not the mean logit.")
    try:
        torch.autograd.grad(logits.sum(), images)
    except RuntimeError as error:
        raise ExerciseError("Exercise 4.3: the result must keep the gradient.") from error
    exercise.confirm("Any attack on this callable is now an attack through the camera.")
