"""Checks of the exercises on iterated attacks: projection, steps, starts, three networks."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.exercises import Exercise, require_budget
from armsrace.models import zoo
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


def check_enough_steps(answer: object) -> None:
    """Check `enough_steps(epsilon, step_size, random_start)`: how many steps reach the whole ball.

    The result is the smallest number of sign steps after which each pixel can have reached either
    end of [−epsilon, epsilon], wherever the attack starts.
    """
    exercise = Exercise("Enough steps")
    solve = exercise.solution(answer, 0.3, 0.08, False)
    if solve is None:
        return
    still, drawn = solve(0.3, 0.08, False), solve(0.3, 0.08, True)
    exercise.require(
        still == int(still) and drawn == int(drawn), "a number of steps is a whole number."
    )
    exercise.require(still != 3, "three steps of 0.08 end at 0.24: round up.")
    exercise.require(still == 4, f"from the image, 0.3 takes 4 steps of 0.08, not {still}.")
    exercise.require(
        drawn != still, "a random start may lie at one end of the ball, and the goal at the other."
    )
    exercise.require(
        drawn == 8,
        f"from one end of the ball to the other is 0.6, which takes 8 steps, not {drawn}.",
    )
    exercise.require(
        (solve(0.1, 0.03, False), solve(0.1, 0.03, True)) == (4, 7),
        "for ε = 0.1 and steps of 0.03 it takes 4, and 7 from a random start.",
    )
    exercise.confirm("An attack with fewer steps cannot use its whole budget everywhere.")


def check_best_start(answer: object) -> None:
    """Check `best_start(images, fooled)`: for each image the first of R starts that fools.

    images: (R, N, C, H, W). fooled: (R, N) bool. The result is (N, C, H, W), the last start's image
    where none fools.
    """
    images = torch.arange(12.0).view(3, 4, 1, 1, 1)
    fooled = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0]], dtype=torch.bool)
    exercise = Exercise("Several starts")
    solve = exercise.solution(answer, images, fooled)
    if solve is None:
        return
    found = solve(images, fooled)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (4, 1, 1, 1),
        "return one image for each of the N, of shape (N, C, H, W).",
    )
    right = torch.tensor([0.0, 5.0, 10.0, 7.0])
    values = found.flatten()
    exercise.require(
        not torch.equal(values, torch.tensor([4.0, 9.0, 10.0, 7.0])),
        "that is the last start that fools: later starts need not run at all.",
    )
    exercise.require(
        values[2] != 2, "where no start fools, return the last one's image, not the first one's."
    )
    exercise.require(torch.equal(values, right), "choose the start image by image.")
    exercise.confirm("An image that was fooled leaves the batch, so restarts get cheaper.")


def check_fool_all(answer: object) -> None:
    """Check `attack(models, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε.

    One image must fool all three models. At least 25 of 50 digits must do so.
    """
    exercise, epsilon = Exercise("One image for three networks"), 0.2
    sample = datasets.load("mnist", "test").take(50, Generator().manual_seed(628))
    models = [zoo.load(name) for name in ("s3-cnn", "maxout", "carlini-wagner")]
    solve = exercise.solution(answer, models, sample.images, sample.labels, epsilon)
    if solve is None:
        return
    found = solve(models, sample.images.clone(), sample.labels.clone(), epsilon)
    moved = require_budget(exercise, sample.images, found, epsilon)
    wrong = torch.stack([model(moved).argmax(dim=1) != sample.labels for model in models])
    fooled = int(wrong.all(dim=0).sum())
    exercise.require(
        fooled >= 25,
        f"{fooled} of 50 digits fool all three networks; the bar is 25. One by one they are fooled "
        f"by {', '.join(str(int(row.sum())) for row in wrong)}. Let every step follow all three.",
    )
    exercise.confirm(f"{fooled} of 50 digits fool all three networks with one image.")
