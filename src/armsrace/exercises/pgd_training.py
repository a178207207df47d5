"""Checks of the exercises on PGD training: a gradient, a threshold, a divergence, a cliff."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from armsrace import datasets
from armsrace.exercises import Exercise, Metered, require_budget
from armsrace.models import zoo


def check_reopened(answer: object) -> None:
    """Check `reopened(hard, soft)`: a function with the values of hard and the gradient of soft."""
    points = torch.tensor([-2.0, -0.1, 0.0, 0.3, 4.0])
    exercise = Exercise("Give a slope back")
    solve = exercise.solution(answer, torch.relu, functional.softplus)
    if solve is None:
        return
    joined = solve(torch.relu, functional.softplus)
    exercise.require(callable(joined), "return a function of a tensor, not its values.")
    leaf = points.clone().requires_grad_()
    values = joined(leaf)
    exercise.require(
        not torch.allclose(values, functional.softplus(points)),
        "the values must be those of hard: the attack must see the network's own logits.",
    )
    exercise.require(
        torch.allclose(values, torch.relu(points), atol=1e-6), "the values are not those of hard."
    )
    exercise.require(values.requires_grad, "the result has no gradient: do not detach all of soft.")
    (grad,) = torch.autograd.grad(values.sum(), leaf)
    exercise.require(
        not torch.allclose(grad, (points > 0).float() + points.sigmoid(), atol=1e-5),
        "the gradients of hard and soft are added: detach hard.",
    )
    exercise.require(
        torch.allclose(grad, points.sigmoid(), atol=1e-5),
        "the gradient is not that of soft.",
    )
    exercise.confirm("An attack follows the gradient of soft and is judged by the values of hard.")


def check_wakes(answer: object) -> None:
    """Check `wakes(weights, bias)`: the gray level at which each filter begins to respond.

    weights: (F, k, k). bias: (F,). The result is (F,): the level v >= 0 above which the response to
    a uniform patch, through the ReLU, is positive; infinity if it never is.
    """
    weights = torch.tensor([1.0, 0.5, -1.0, 2.0, -2.0]).view(5, 1, 1) * torch.ones(5, 2, 2) / 4
    bias = torch.tensor([-0.3, -0.2, -0.1, 0.1, 0.4])
    exercise = Exercise("Where a filter wakes up")
    solve = exercise.solution(answer, weights, bias)
    if solve is None:
        return
    found = solve(weights, bias)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (5,), "return one level for each filter."
    )
    exercise.require(
        abs(float(found[0]) - 1.2) > 1e-5, "all weights of a filter act on a patch: sum them."
    )
    exercise.require(
        torch.allclose(found[:2], torch.tensor([0.3, 0.4]), atol=1e-5),
        "a response w · v + b, with w the sum of the weights, is positive above v = −b / w.",
    )
    exercise.require(
        bool(found[2] == torch.inf),
        "the third filter has negative weights and a negative bias: it never responds.",
    )
    exercise.require(
        bool((found[3:] == 0).all()),
        "a filter with a positive bias responds even to a black patch: its level is 0.",
    )
    exercise.confirm("A change that stays below the level does not get past the first layer.")


def check_divergence(answer: object) -> None:
    """Check `divergence(clean, attacked)`: the mean of KL(p(clean) ‖ p(attacked)) in nats.

    Both are logits (N, K).
    """
    clean, attacked = 2 * torch.randn(2, 5, 4, generator=Generator().manual_seed(13))
    exercise = Exercise("A divergence of logits")
    solve = exercise.solution(answer, clean, attacked)
    if solve is None:
        return
    found = solve(clean, attacked)
    exercise.require(
        isinstance(found, Tensor) and found.numel() == 1, "return one number, the mean over images."
    )

    def right(p: Tensor, q: Tensor) -> Tensor:
        p, q = p.log_softmax(1), q.log_softmax(1)
        return functional.kl_div(q, p, reduction="batchmean", log_target=True)

    hints = {
        "the divergence is not symmetric: the clean image's confidences weigh the logarithms.":
            right(attacked, clean),
        "take the mean over the images, not the sum.": 5 * right(clean, attacked),
        "take the sum over the classes, and the mean over the images only.":
            right(clean, attacked) / 4,
    }  # fmt: skip
    for hint, wrong in hints.items():
        exercise.require(abs(float(found) - float(wrong)) > 1e-4, hint)
    exercise.require(
        abs(float(found) - float(right(clean, attacked))) < 1e-4,
        f"here the divergence is {float(right(clean, attacked)):.4f}, yours {float(found):.4f}.",
    )
    large = solve(1000 * clean, 1000 * attacked)
    exercise.require(
        bool(torch.isfinite(large).all()),
        "a confidence that rounds to 0 has no logarithm: use log_softmax.",
    )
    exercise.confirm("It is 0 where the confidences agree, whatever the label is.")


def check_over_the_cliff(answer: object) -> None:
    """Check `attack(model, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε = 0.35.

    The model was trained against PGD at ε = 0.3. It may be queried 30 times per digit, for 40
    digits. At least 30 must be misclassified.
    """
    exercise, epsilon = Exercise("Over the cliff"), 0.35
    sample = datasets.load("mnist", "test").take(40, Generator().manual_seed(313))
    model = zoo.load("madry-pgd")
    metered = Metered(exercise, model, 30 * len(sample))
    solve = exercise.solution(answer, metered, sample.images[:2], sample.labels[:2], epsilon)
    if solve is None:
        return
    metered.shown = 0
    found = solve(metered, sample.images.clone(), sample.labels.clone(), epsilon)
    moved = require_budget(exercise, sample.images, found, epsilon)
    with torch.no_grad():
        fooled = int((model(moved).argmax(dim=1) != sample.labels).sum())
    exercise.require(
        fooled >= 30,
        f"{fooled} of 40 digits are misclassified; the bar is 30. A pixel below the threshold has "
        "no effect: begin with steps as large as the budget, and let them shrink.",
    )
    exercise.confirm(
        f"{fooled} of 40 digits are misclassified, at an ε one sixth beyond the training budget."
    )
