"""Checks of the exercises on shortest distances: hyperplane, median, DDN, nearer in L∞."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.attacks import deepfool
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.models import zoo
from armsrace.norms import distances


def check_hyperplane(answer: object) -> None:
    """Check `hyperplane(gap, normal)`: the smallest step (D,) in L∞ with normal · step = gap."""
    normal = torch.tensor([3.0, -1.0, 0.5, 0.0, -0.5])
    exercise = Exercise("The hyperplane in L∞")
    solve = exercise.solution(answer, 2.0, normal)
    if solve is None:
        return
    step = solve(2.0, normal)
    exercise.require(
        isinstance(step, Tensor) and step.shape == normal.shape,
        f"return a tensor of shape {tuple(normal.shape)}.",
    )
    closed = float(normal @ step)
    exercise.require(
        abs(closed - 2.0) < 1e-5,
        f"normal · step must be the gap, 2; yours is {closed:.4g}.",
    )
    size, minimum = float(step.abs().max()), 2.0 / float(normal.abs().sum())
    exercise.require(
        size < minimum + 1e-6,
        f"your largest change of a pixel is {size:.4g}, but {minimum:.4g} is enough: in L∞ all "
        "pixels may change as much as the largest.",
    )
    exercise.confirm("It is the gap divided by the L1 norm of the normal: the dual norm.")


def check_median_distance(answer: object) -> None:
    """Check `median_distance(distances, success)`: the median of (N,), failures being infinite."""
    distances = torch.tensor([0.5, 0.0, 1.5, 0.0, 2.5])
    success = torch.tensor([True, False, True, False, True])
    exercise = Exercise("A failure is not near")
    solve = exercise.solution(answer, distances, success)
    if solve is None:
        return
    value = float(solve(distances, success))
    hints = {
        0.5: "failed searches return the clean image, but their distance is not 0.",
        1.5: "failures are missing from the count, so the attack looks stronger when it fails.",
        0.9: "a mean over everything counts failures as distance 0.",
    }
    matching = [hint for wrong, hint in hints.items() if abs(value - wrong) < 1e-5]
    exercise.require(
        abs(value - 2.5) < 1e-5,
        matching[0]
        if matching
        else f"got {value:.4g}; two of five failed, so the median is the largest.",
    )
    mostly_failed = float(solve(distances, torch.tensor([False, False, False, True, True])))
    exercise.require(
        mostly_failed == float("inf"), "if most searches fail, the median is infinite."
    )
    exercise.require(
        float(solve(distances, torch.ones(5, dtype=torch.bool))) == 0.5,
        "a misclassified clean image is a success at distance 0: only `success` says what failed.",
    )
    exercise.confirm("A failure is infinitely far.")


def check_sphere_step(answer: object) -> None:
    """Check `sphere_step(delta, slope, radius, adversarial, length, gamma)`: (delta, radius)."""
    delta, grad = torch.tensor([0.3, 0.4, 0.0]), torch.tensor([0.0, 0.0, 2e-3])
    exercise = Exercise("Direction and norm")
    solve = exercise.solution(answer, delta, grad, 0.5, True, 0.5, 0.05)
    if solve is None:
        return
    for adversarial, expected in ((True, 0.475), (False, 0.525)):
        found = solve(delta, grad, 0.5, adversarial, 0.5, 0.05)
        exercise.require(
            isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Tensor),
            "return the new perturbation and the new radius.",
        )
        next_delta, radius = found[0], float(found[1])
        exercise.require(
            abs(radius - expected) < 1e-6,
            f"if the image is {'' if adversarial else 'not '}adversarial, the radius 0.5 becomes "
            f"{expected:g}, got {radius:.4g}: shrink only after a success.",
        )
        size = float(next_delta.norm())
        exercise.require(
            abs(size - expected) < 1e-5,
            f"the norm of the perturbation is {size:.4g}: it must be on the new sphere, also if it "
            "was shorter.",
        )
        # The step is as long as delta and orthogonal to it, so the new direction is at 45°.
        sine = float(next_delta[2]) / size
        exercise.require(
            abs(sine - 0.5**0.5) < 1e-5,
            "the direction is wrong: add a step of the given length along the gradient, however "
            "small the gradient is, and then set the norm.",
        )
    exercise.confirm("The gradient decides only the direction, and the model's decision the norm.")


def check_nearer_linf(answer: object) -> None:
    """Check `attack(model, images, labels)`: adversarial images (N, 1, 28, 28), near in L∞.

    Each of 25 digits may be shown to the model 60 times. The mean distance must be at most 92 % of
    DeepFool's in L∞.
    """
    exercise = Exercise("Nearer in L∞")
    model = zoo.load("s3-cnn")
    drawn = datasets.load("mnist", "test").take(50, Generator().manual_seed(719))
    with torch.no_grad():
        right = (model(drawn.images).argmax(dim=1) == drawn.labels).nonzero()[:25, 0]
    images, labels = drawn.images[right], drawn.labels[right]
    metered = Metered(exercise, model, 60 * len(images))
    solve = exercise.solution(answer, metered, images[:2], labels[:2])
    if solve is None:
        return
    metered.shown = 0
    moved = require_budget(
        exercise, images, solve(metered, images.clone(), labels.clone()), epsilon=1.0
    )
    with torch.no_grad():
        missed = int((model(moved).argmax(dim=1) == labels).sum())
    exercise.require(
        missed == 0, f"{missed} of {len(images)} digits are still classified correctly."
    )
    mean = float(distances(moved - images, "linf").mean())
    found = deepfool(model, images, labels, norm="linf")
    bar = 0.92 * float(distances(found.images - images, "linf").mean())
    exercise.require(
        mean <= bar,
        f"your mean distance is {mean:.4f}; the bar is {bar:.4f}. Let ε shrink after a success "
        "and grow after a failure, and let δ follow the sign of the gradient inside that cube.",
    )
    exercise.confirm(f"{mean:.4f} with at most 60 passes; 92 % of DeepFool's mean is {bar:.4f}.")
