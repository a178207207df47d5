"""Checks of the exercises on attacks without gradients: an estimate, steps, squares."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.exercises import Exercise, ExerciseError, Metered, require_budget
from armsrace.models import zoo


def check_estimate(answer: object) -> None:
    """Check `estimate(score, images, directions, h)`: central differences along directions.

    score: images (N, C, H, W) to numbers (N,). directions: (n, C, H, W) of ±1. The result
    (N, C, H, W) is the mean over directions u of u · (score(x + h u) − score(x − h u)) / 2h.
    """
    draws = Generator().manual_seed(8)
    weights = torch.randn(12, generator=draws, dtype=torch.float64)
    images = torch.rand(3, 1, 3, 4, generator=draws, dtype=torch.float64)
    signs = torch.randn(5, 1, 3, 4, generator=draws, dtype=torch.float64).sign()
    queried: list[int] = []

    def score(batch: Tensor) -> Tensor:
        queried.append(len(batch))
        return batch.flatten(1) @ weights + 3 * batch.flatten(1).square().sum(dim=1)

    exercise = Exercise("A gradient from scores")
    solve = exercise.solution(answer, score, images, signs, 0.01)
    if solve is None:
        return
    queried.clear()
    found = solve(score, images, signs, 0.01)
    exercise.require(
        isinstance(found, Tensor) and found.shape == images.shape,
        f"return one gradient per image, of shape {tuple(images.shape)}.",
    )
    flat = signs.flatten(1)
    gradient = weights + 6 * images.flatten(1)
    expected = (gradient @ flat.T @ flat / len(flat)).view_as(images)
    hints = {
        2.0: "divide by 2h: the two points are 2h apart.",
        0.02: "divide by 2h, the distance between the two points.",
        float(len(flat)): "take the mean over the directions, not the sum.",
    }
    for factor, hint in hints.items():
        exercise.require(not torch.allclose(found, factor * expected, rtol=1e-6), hint)
    exercise.require(
        torch.allclose(found, expected, rtol=1e-6, atol=1e-8),
        "the estimate must be exact for a quadratic score: evaluate both sides of the image.",
    )
    exercise.require(
        sum(queried) == 2 * len(images) * len(signs),
        f"{len(signs)} directions cost {2 * len(signs)} queries per image; yours made "
        f"{sum(queried) / len(images):g}.",
    )
    exercise.confirm("You have a gradient, although the model gives only scores.")


def check_sphere_step(answer: object) -> None:
    """Check `sphere_step(clean, current, draws, size)`: a step around the clean image.

    All are (N, C, H, W) except for the size, a fraction of the distance. The step goes along the
    part of the draws that is orthogonal to clean − current. The result is as far from the clean
    image as the current one.
    """
    draws = Generator().manual_seed(9)
    clean, current, noise = torch.randn(3, 4, 1, 3, 5, generator=draws, dtype=torch.float64)
    size = 0.2
    exercise = Exercise("Around the image")
    solve = exercise.solution(answer, clean, current, noise, size)
    if solve is None:
        return
    found = solve(clean, current, noise, size)
    exercise.require(
        isinstance(found, Tensor) and found.shape == clean.shape,
        f"return images of shape {tuple(clean.shape)}.",
    )
    before, after = ((side - clean).flatten(1) for side in (current, found))
    distance = before.norm(dim=1)
    exercise.require(
        torch.allclose(after.norm(dim=1), distance, rtol=1e-6),
        "the new point must be as far from the clean image as the old one: project it to the "
        "sphere after the step.",
    )
    cosine = (before * after).sum(dim=1) / distance.square()
    exercise.require(
        torch.allclose(cosine, torch.full_like(cosine, (1 + size**2) ** -0.5), rtol=1e-6),
        "before the projection, the length of the step is `size` times the distance, and the "
        "step is orthogonal to the direction of the clean image.",
    )
    orthogonal = after - cosine[:, None] * before
    wanted = noise.flatten(1)
    wanted = wanted - (wanted * before).sum(dim=1, keepdim=True) / distance[:, None] ** 2 * before
    similarity = torch.nn.functional.cosine_similarity(orthogonal, wanted)
    exercise.require(
        bool((similarity > 1 - 1e-6).all()),
        "remove from each image's draws the part along its own direction to the clean image.",
    )
    exercise.confirm("The boundary attack needs one such step and one decision at a time.")


def check_halve(answer: object) -> None:
    """Check `halve(is_adversarial, clean, start, times)`: a bisection by decisions, (N, C, H, W).

    is_adversarial: images to (N,) bool. Each image of the result must be adversarial.
    """
    draws = Generator().manual_seed(10)
    clean = torch.rand(6, 1, 2, 3, generator=draws, dtype=torch.float64)
    start = clean + 1 + torch.rand(6, 1, 2, 3, generator=draws, dtype=torch.float64)
    ends = torch.tensor([0.1, 0.3, 0.49, 0.51, 0.8, 0.97], dtype=torch.float64)
    queried: list[int] = []

    def is_adversarial(images: Tensor) -> Tensor:
        queried.append(len(images))
        fraction = (images - clean).flatten(1)[:, 0] / (start - clean).flatten(1)[:, 0]
        return fraction >= ends - 1e-12

    exercise = Exercise("Halve the line")
    solve = exercise.solution(answer, is_adversarial, clean, start, 8)
    if solve is None:
        return
    queried.clear()
    found = solve(is_adversarial, clean, start, 8)
    exercise.require(
        isinstance(found, Tensor) and found.shape == clean.shape,
        f"return images of shape {tuple(clean.shape)}.",
    )
    queries = sum(queried) / len(clean)
    fraction = ((found - clean) / (start - clean)).flatten(1)
    exercise.require(
        bool((fraction >= ends[:, None] - 1e-9).all()),
        "the result must be adversarial: return the adversarial end of the line, not the middle.",
    )
    exercise.require(
        bool((fraction - ends[:, None] <= 2**-8 + 1e-9).all()),
        "after 8 halvings at most 1/256 of the line may be left; each image has its own ends.",
    )
    exercise.require(queries <= 9, f"8 halvings cost 8 queries per image; yours made {queries:g}.")
    exercise.confirm("After ten queries, 1/1000 of the line to the boundary is left.")


def check_squares(answer: object) -> None:
    """Check `attack(scores, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε.

    scores: images to logits (N, 10), without a gradient. Each of 40 digits may be shown to it 300
    times. At least 30 must be misclassified.
    """
    exercise, epsilon = Exercise("Squares"), 0.2
    model = zoo.load("s3-cnn")

    def scores(images: Tensor) -> Tensor:
        with torch.no_grad():
            return model(images)

    drawn = datasets.load("mnist", "test").take(60, Generator().manual_seed(907))
    right = (scores(drawn.images).argmax(dim=1) == drawn.labels).nonzero()[:40, 0]
    images, labels = drawn.images[right], drawn.labels[right]
    metered = Metered(exercise, scores, 300 * len(images))
    if not exercise.attempted(answer):
        return
    # No probe: a search may take its time, and is run once.
    if not callable(answer):
        raise ExerciseError(f"Exercise “Squares” asks for a function, got {answer!r}.")
    try:
        found = answer(metered, images.clone(), labels.clone(), epsilon)
    except ExerciseError:
        raise
    except Exception as error:
        raise ExerciseError(f"Exercise “Squares”: your function raised {error!r}.") from error
    if not exercise.attempted(found):
        return
    moved = require_budget(exercise, images, found, epsilon)
    fooled = int((scores(moved).argmax(dim=1) != labels).sum())
    exercise.require(
        fooled >= 30,
        f"{fooled} of {len(images)} digits are misclassified; the bar is 30. Large squares first, "
        "all of the budget for each pixel, and keep what lowers the lead of the true class.",
    )
    used = metered.shown / len(images)
    exercise.confirm(
        f"{fooled} of {len(images)} digits are misclassified, for {used:.0f} queries each."
    )
