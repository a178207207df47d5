"""Checks of the exercises on iterated attacks: projection, destruction rate, averaged model."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace.exercises import Exercise, ExerciseError
from armsrace.norms import project


def check_project_l2(answer: object) -> None:
    """Check `project_l2(perturbations, epsilon)`: (N, C, H, W) projected onto the L2 ball."""
    draws = Generator().manual_seed(4)
    sizes = torch.tensor([0.3, 1.0, 5.0, 0.0]).view(-1, 1, 1, 1)
    directions = torch.randn(4, 1, 5, 5, generator=draws)
    directions = directions / directions.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    perturbations = sizes * directions
    exercise = Exercise("Back to the ball")
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
        f"a point inside the ball is its own projection; the first has length 0.3 and becomes "
        f"{float(lengths[0]):.3g}. Compute the length of each image.",
    )
    exercise.require(
        bool(lengths.max() < 1 + 1e-5),
        f"the longest result has length {float(lengths.max()):.3g}, outside the ball.",
    )
    exercise.require(
        torch.allclose(found, project(perturbations, "l2", 1.0), atol=1e-5),
        "the nearest point of the ball is on the line to its center: scale, do not clip pixels.",
    )
    exercise.confirm("Long steps return to the sphere along their own direction.")


def check_destruction(answer: object) -> None:
    """Check `destruction(clean, attacked, transformed)`: Kurakin et al. 2017, equation 1.

    All are (N,) bool: whether the clean image, the adversarial image, and the transformed
    adversarial image are classified correctly.
    """
    clean = torch.tensor([True, True, True, True, True, False, False, True])
    attacked = torch.tensor([False, False, False, False, True, False, False, True])
    transformed = torch.tensor([True, False, False, False, True, True, True, True])
    exercise = Exercise("What did the camera destroy?")
    solve = exercise.solution(answer, clean, attacked, transformed)
    if solve is None:
        return
    found = solve(clean, attacked, transformed)
    value = float(found)
    hints = {
        5 / 8: "that is the accuracy on all transformed images.",
        3 / 6: "a transformation cannot destroy an image that was misclassified when clean.",
        1 / 8: "divide by the images that were successfully attacked, not by all.",
        1 / 6: "divide by the images that are correct when clean and wrong when attacked.",
        3 / 4: "that is the fraction that survives the transformation; count what it destroys.",
    }
    for wrong, hint in hints.items():
        exercise.require(abs(value - wrong) > 1e-6, hint)
    exercise.require(
        abs(value - 1 / 4) < 1e-6,
        f"here 4 images are correct when clean and wrong when attacked, and 1 of those is correct "
        f"again when transformed; your rate is {value:.3g}.",
    )
    exercise.confirm("The accuracy on photographs mixes three causes; this rate isolates one.")


def check_averaged(answer: object) -> None:
    """Check `averaged(model, transform, samples)`: a model whose logits are a mean over draws.

    The result is a callable, images to logits: the mean of model(transform(images)) over `samples`
    new draws of the transformation, differentiable in the images.
    """
    weights = torch.randn(9, 3, generator=Generator().manual_seed(6))
    draws: list[float] = []

    def transform(images: Tensor) -> Tensor:
        draws.append(float(len(draws)))
        return images + draws[-1]

    def model(images: Tensor) -> Tensor:
        return images.flatten(1) ** 2 @ weights

    exercise = Exercise("Attack through the camera")
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
        f"4 draws were requested, but your model made {len(draws)} for one batch; draw again at "
        "each call, not once for all.",
    )
    expected = torch.stack([model(images + shift) for shift in range(4)]).mean(dim=0)
    mean_image = model(images + 1.5)
    exercise.require(
        not torch.allclose(logits, mean_image, atol=1e-4),
        "average the logits, not the images: the model must see single photographs.",
    )
    exercise.require(torch.allclose(logits, expected, atol=1e-4), "that is not the mean logit.")
    try:
        torch.autograd.grad(logits.sum(), images)
    except RuntimeError as error:
        raise ExerciseError(
            "Exercise “Attack through the camera”: the result must keep the gradient."
        ) from error
    exercise.confirm("Any attack on this callable is now an attack through the camera.")
