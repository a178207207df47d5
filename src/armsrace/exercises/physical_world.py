"""Checks of the exercises on the physical world: destruction, clipping, averaging, a camera."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from armsrace import datasets
from armsrace.attacks import physical
from armsrace.exercises import Exercise, ExerciseError, Metered, require_budget
from armsrace.models import zoo


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
        3 / 4: "that is the share that survives the transformation; count what is destroyed.",
    }
    for wrong, hint in hints.items():
        exercise.require(abs(value - wrong) > 1e-6, hint)
    exercise.require(
        abs(value - 1 / 4) < 1e-6,
        f"here 4 images are correct when clean and wrong when attacked, and 1 of those is correct "
        f"again when transformed; your rate is {value:.3g}.",
    )
    exercise.confirm("The accuracy on photographs mixes three causes; this rate isolates one.")


def check_erased(answer: object) -> None:
    """Check `erased(clean, attacked, shift)`: the share of changed pixels that a shift erases.

    Images are (N, C, H, W); `shift` is added to both and the sums are clipped to [0, 1]. The result
    is (N,): of the pixels that differ before, the share that is equal after.
    """
    clean = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.25, 0.5, 0.75, 1.0]]).view(2, 1, 2, 2)
    attacked = torch.tensor([[0.125, 0.25, 0.5, 0.75], [0.5, 0.25, 1.0, 0.75]]).view(2, 1, 2, 2)
    exercise = Exercise("What clipping erases")
    solve = exercise.solution(answer, clean, attacked, -0.125)
    if solve is None:
        return
    found = solve(clean, attacked, -0.125)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (2,), "return one share for each image."
    )
    right = torch.tensor([1 / 3, 0.0])
    hints = {
        "nothing is erased without clipping: clip both sums to [0, 1].": torch.zeros(2),
        "divide by the pixels that were changed, not by all.": torch.tensor([0.25, 0.0]),
        "that is the share that survives; count what is erased.": 1 - right,
        "a pixel that was equal before was not erased: count changed pixels only.": torch.tensor(
            [2 / 3, 0.0]
        ),
    }
    for hint, wrong in hints.items():
        exercise.require(not torch.allclose(found.float(), wrong, atol=1e-5), hint)
    exercise.require(
        torch.allclose(found.float(), right, atol=1e-5),
        "for a shift of −1/8, one of the three changes of the first image is lost, the one on its "
        "first pixel, and none of the second.",
    )
    brighter = solve(clean, attacked, 0.25)
    exercise.require(
        torch.allclose(brighter.float(), torch.tensor([1 / 3, 1 / 2]), atol=1e-5),
        "for a shift of +1/4, changes near white are lost: clip at 1 too.",
    )
    exercise.confirm("A range that ends where the background is makes the camera look strong.")


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


def check_cheap_shots(answer: object) -> None:
    """Check `attack(model, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε = 0.2.

    Each of 40 digits may be shown to the model 25 times. A camera of strength 2, whose draws are
    hidden, takes five pictures of each image. At least 65 % of them must be misclassified.
    """
    exercise, epsilon = Exercise("A cheap way through the camera"), 0.2
    model = zoo.load("s3-cnn")
    drawn = datasets.load("mnist", "test").take(60, Generator().manual_seed(305))
    with torch.no_grad():
        right = (model(drawn.images).argmax(dim=1) == drawn.labels).nonzero()[:40, 0]
    images, labels = drawn.images[right], drawn.labels[right]
    metered = Metered(exercise, model, 25 * len(images))
    solve = exercise.solution(answer, metered, images[:2], labels[:2], epsilon)
    if solve is None:
        return
    metered.shown = 0
    found = solve(metered, images.clone(), labels.clone(), epsilon)
    moved = require_budget(exercise, images, found, epsilon)
    hidden, fooled, pictures = Generator().manual_seed(99), 0, 5
    with torch.no_grad():
        for _ in range(pictures):
            shots = physical.camera(moved, hidden, 2.0)
            fooled += int((model(shots).argmax(dim=1) != labels).sum())
    share = fooled / (pictures * len(images))
    exercise.require(
        share >= 0.65,
        f"{share:.0%} of the pictures are misclassified; the bar is 65 %. Attack a new photograph "
        "in each step, and let the steps share what they learn.",
    )
    exercise.confirm(f"{share:.0%} of the pictures are misclassified, for one photograph per step.")
