"""Checks of the exercises on Carlini–Wagner: f₆, the variable, the search for c, less cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.attacks import carlini_wagner_l2
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.models import zoo
from armsrace.norms import distances

KAPPA = 2.0


def check_objective(answer: object) -> None:
    """Check `objective(logits, targets, confidence)`: f₆ of Carlini and Wagner 2017, (N,).

    logits: (N, K). targets: (N,) int64. The result is max(max_{i≠t} z_i − z_t, −κ), with κ the
    confidence.
    """
    logits = torch.tensor(
        [[5.0, 1.0, 2.0], [-3.0, -1.0, -2.0], [9.0, 4.0, 1.0], [-6.0, -5.0, -1.5], [1.0, 2.5, 1.0]]
    )
    targets = torch.tensor([1, 0, 0, 2, 1])
    exercise = Exercise("The objective")
    solve = exercise.solution(answer, logits, targets, KAPPA)
    if solve is None:
        return
    found = solve(logits, targets, KAPPA)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (5,),
        "return one number per image, a tensor of shape (5,).",
    )
    hints = {
        (4.0, 3.0, -2.0, 1.5, -1.5): "image 4 has logits (−6, −5, −1.5), all negative: if the "
        "target's logit is multiplied by zero, that zero is the maximum. Mask it with −∞.",
        (
            4.0,
            2.0,
            0.0,
            0.0,
            0.0,
        ): "this stops at the boundary: κ requires that the target leads the "
        "largest other logit by κ.",
        (4.0, 2.0, -5.0, -3.5, -1.5): "a lead of κ is enough: clamp at −κ, or the search "
        "would never stop.",
    }
    for wrong, hint in hints.items():
        exercise.require(not torch.allclose(found, torch.tensor(wrong)), hint)
    exercise.require(
        torch.allclose(found, torch.tensor([4.0, 2.0, -2.0, -2.0, -1.5])),
        f"for z = (5, 1, 2) and t = 1 the value is 4; yours for the five images is "
        f"{[round(value, 3) for value in found.tolist()]}.",
    )
    exercise.confirm("Below 0 the target wins; at −κ it leads by κ, and the gradient vanishes.")


def check_change_of_variable(answer: object) -> None:
    """Check `to_unbounded(images)`: the w with (tanh(w) + 1) / 2 = x, also for x = 0 and 1.

    It must be finite in float32, accurate to 1e-4, and have a gradient at the ends of the box.
    """
    images = torch.tensor([0.0, 1.0, 0.5, 0.25, 0.9, 0.001]).view(1, 1, 2, 3)
    exercise = Exercise("Into the box")
    solve = exercise.solution(answer, images)
    if solve is None:
        return
    found = solve(images)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return a tensor of shape {tuple(images.shape)}.",
    )
    exercise.require(
        bool(torch.isfinite(found).all()),
        "atanh(±1) is infinite: shrink 2x − 1 a little first.",
    )
    back = (torch.tanh(found) + 1) / 2
    worst = float((back - images).abs().max())
    exercise.require(
        worst < 1e-4,
        f"(tanh(w) + 1) / 2 misses the image by {worst:.2g}; 1e-4 is allowed.",
    )
    derivatives = (1 - torch.tanh(found) ** 2) / 2
    exercise.require(
        float(derivatives.min()) > 0,
        "in float32 tanh rounds to ±1 here, so pixels at 0 and 1 have gradient 0 and never "
        "change: shrink by more.",
    )
    exercise.confirm(
        f"The smallest derivative dx/dw is {float(derivatives.min()):.1e}: small, but not zero."
    )


def check_next_constant(answer: object) -> None:
    """Check `next_constant(low, high, constant, found)`: one step of the search for c, per image.

    All are (N,); high is infinite until a constant has succeeded. The result is the new (low, high,
    constant): the midpoint if high is finite, else ten times the constant.
    """
    low = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.1])
    high = torch.tensor([torch.inf, torch.inf, 8.0, 8.0, torch.inf])
    constant = torch.tensor([0.01, 0.01, 4.0, 4.0, 1.0])
    found = torch.tensor([False, True, True, False, True])
    exercise = Exercise("The search for c")
    solve = exercise.solution(answer, low, high, constant, found)
    if solve is None:
        return
    result = solve(low, high, constant, found)
    exercise.require(
        isinstance(result, tuple | list)
        and len(result) == 3
        and all(isinstance(part, Tensor) and part.shape == (5,) for part in result),
        "return three tensors of shape (5,): low, high, constant.",
    )
    new_low, new_high, new_constant = result
    exercise.require(
        bool(torch.isfinite(new_constant).all()),
        "a finite and an infinite end have no midpoint: multiply by 10 there.",
    )
    exercise.require(
        torch.allclose(new_high, torch.tensor([torch.inf, 0.01, 4.0, 8.0, 1.0])),
        "a constant that succeeded, and only such a one, becomes the new upper end.",
    )
    exercise.require(
        torch.allclose(new_low, torch.tensor([0.01, 0.0, 1.0, 4.0, 0.1])),
        "a constant that failed, and only such a one, becomes the new lower end.",
    )
    exercise.require(
        torch.allclose(new_constant, torch.tensor([0.1, 0.005, 2.5, 6.0, 0.55])),
        "take the midpoint of the new ends, or ten times the constant if the upper end is ∞.",
    )
    exercise.confirm("Each image finds its own smallest c; no single c fits all images.")


def check_nearer(answer: object) -> None:
    """Check `attack(model, images, labels)`: adversarial images (N, 1, 28, 28), near in L2.

    Each of 20 digits may be shown to the model 60 times. The mean distance must be below that of a
    Carlini–Wagner search of five constants with 60 steps each.
    """
    exercise = Exercise("Nearer, for less")
    model = zoo.load("s3-cnn")
    drawn = datasets.load("mnist", "test").take(40, Generator().manual_seed(841))
    with torch.no_grad():
        right = (model(drawn.images).argmax(dim=1) == drawn.labels).nonzero()[:20, 0]
    images, labels = drawn.images[right], drawn.labels[right]
    metered = Metered(exercise, model, 60 * len(images))
    solve = exercise.solution(answer, metered, images, labels)
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
    mean = float(distances(moved - images, "l2").mean())
    effort: dict[str, Any] = {
        "binary_search_steps": 5,
        "steps": 60,
        "step_size": 0.1,
        "initial_constant": 1.0,
    }
    found = carlini_wagner_l2(model, images, labels, **effort)
    bar = float(distances(found.images - images, "l2").mean())
    exercise.require(
        mean < bar,
        f"your mean distance is {mean:.3f}; the search of this page reaches {bar:.3f}. Spend no "
        "steps on constants that fail: let the length of δ itself grow and shrink.",
    )
    exercise.confirm(f"{mean:.3f} with at most 60 passes; the search of this page: {bar:.3f}.")
