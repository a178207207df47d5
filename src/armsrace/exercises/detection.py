"""Checks of the exercises on detection: a threshold, scores with a gradient, two detectors."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from armsrace import datasets
from armsrace.defenses import CrossNetworkNLL, Detected, Divergence, threshold_at
from armsrace.evaluation import wilson
from armsrace.exercises import Exercise, require_budget
from armsrace.models import zoo


def check_threshold(answer: object) -> None:
    """Check `threshold(scores, rate)`: the smallest score that may be promised as a threshold.

    scores: (N,), of clean images. rate: in (0, 1). The upper end of the 95 % Wilson interval of the
    share of scores above the result is at most `rate`, and the result is the smallest such score.
    """
    scores = torch.rand(200, generator=Generator().manual_seed(0))
    exercise = Exercise("A threshold that keeps its promise")
    solve = exercise.solution(answer, scores, 0.05)
    if solve is None:
        return
    for name, values in {"scores": scores, "scores with ties": (20 * scores).round()}.items():
        for rate in (0.05, 0.124, 0.5):
            found = float(solve(values, rate))
            share = float((values > found).float().mean())
            highest = wilson(share, len(values))[1]
            exercise.require(
                highest <= rate + 1e-6,
                f"at rate {rate} your threshold refuses {share:.1%} of the {name}; with "
                f"n = {len(values)} the true rate may be as high as {highest:.1%}.",
            )
            kept = [v for v in values.unique().tolist() if v < found - 1e-6]
            better = [
                v
                for v in kept
                if wilson(float((values > v).float().mean()), len(values))[1] <= rate
            ]
            exercise.require(
                not better,
                f"at rate {rate} a smaller threshold is enough and detects more ({name}).",
            )
    exercise.confirm("A rate measured on n images is a promise only with its interval.")


def check_log_density(answer: object) -> None:
    """Check `log_density(features, known, bandwidth)`: log mean exp(−‖φ − φ′‖² / σ²), (N,).

    features: (N, F). known: (M, F), training images of one class. It must be finite far away.
    """
    known = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    features = torch.tensor([[0.0, 0.0], [0.0, 30.0]])
    exercise = Exercise("A density that does not vanish")
    solve = exercise.solution(answer, features, known, 2.0)
    if solve is None:
        return
    squares = torch.tensor([[0.0, 25.0, 1.0], [900.0, 685.0, 841.0]]).double()
    right = (-squares / 4).logsumexp(dim=1) - torch.tensor(3.0).double().log()
    found = solve(features, known, 2.0)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (2,),
        "return one number per image, a tensor of shape (2,).",
    )
    exercise.require(
        abs(float(found[0] + squares[0].mean() / 4)) > 1e-4,
        "take the mean of the kernels, not of the distances.",
    )
    exercise.require(
        not torch.allclose(found[0].double(), right[0] + torch.tensor(3.0).double().log()),
        "divide by the number of training images: the density is a mean.",
    )
    exercise.require(
        abs(float(found[0] - right[0])) < 1e-4,
        f"at the first training image it is {float(right[0]):.4f}; yours is {float(found[0]):.4f}.",
    )
    exercise.require(
        bool(torch.isfinite(found).all()),
        "far away exp(−‖φ − φ′‖² / σ²) is 0 in float32 and its logarithm infinite: "
        "use torch.logsumexp.",
    )
    exercise.require(
        abs(float(found[1] - right[1])) < 1e-2,
        f"far away it is {float(right[1]):.2f}; yours is {float(found[1]):.2f}. Do not add a small "
        "number: an attacker's gradient would vanish.",
    )
    exercise.confirm("A gradient may vanish only because float32 has a smallest number.")


def check_squeezing(answer: object) -> None:
    """Check `squeezing(classifier, images, bits)`: ‖p(x) − p(s(x))‖₁, (N,), by straight-through.

    classifier: images (N, C, H, W) to logits (N, K). s rounds to 2^bits equally spaced values. The
    gradient must be that of the identity, s(x) = x, at the rounded image, not 0.
    """
    exercise = Exercise("Squeezing, with a gradient")
    images = torch.tensor([[[[0.2, 0.9]]], [[[0.6, 0.3]]]])

    def classifier(batch: Tensor) -> Tensor:
        return batch.flatten(1) @ torch.tensor([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]])

    solve = exercise.solution(answer, classifier, images, 2)
    if solve is None:
        return
    squeezed = (3 * images).round() / 3
    right = (classifier(images).softmax(1) - classifier(squeezed).softmax(1)).abs().sum(1)
    leaf = images.clone().requires_grad_()
    found = solve(classifier, leaf, 2)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (2,),
        "return one number per image, a tensor of shape (2,).",
    )
    logits = (classifier(images) - classifier(squeezed)).abs().sum(1)
    exercise.require(
        not torch.allclose(found, logits, atol=1e-5),
        "compare the softmax outputs, not the logits.",
    )
    four = (4 * images).round() / 4
    wrong = (classifier(images).softmax(1) - classifier(four).softmax(1)).abs().sum(1)
    exercise.require(
        not torch.allclose(found, wrong, atol=1e-5),
        "2^bits values between 0 and 1 are 2^bits − 1 steps apart.",
    )
    exercise.require(
        torch.allclose(found, right, atol=1e-5),
        f"at 2 bits the scores are {right[0]:.4f} and {right[1]:.4f}; yours are "
        f"{found[0].item():.4f} and {found[1].item():.4f}.",
    )
    (grad,) = torch.autograd.grad(found.sum(), leaf)
    moved = images.clone().requires_grad_()
    kept = squeezed.clone().requires_grad_()
    score = (classifier(moved).softmax(1) - classifier(kept).softmax(1)).abs().sum()
    first, second = torch.autograd.grad(score, (moved, kept))
    exercise.require(
        not torch.allclose(grad, first, atol=1e-5),
        "your gradient ignores the squeezed image, since rounding has gradient 0: use "
        "x + (s(x) − x).detach(), or attacks.adaptive.bpda.",
    )
    exercise.require(
        torch.allclose(grad, first + second, atol=1e-5),
        "the gradient must be that of both terms, the second as if s(x) = x.",
    )
    exercise.confirm("The values are the defender's, the gradient is the attacker's.")


def check_past_both(answer: object) -> None:
    """Check `attack(defense, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ epsilon.

    defense: `Detected`, the 16-32-64 network with the VAE detector and the RBF detector. At least
    21 of 30 digits must be misclassified without an alarm.
    """
    exercise, epsilon = Exercise("Past both detectors"), 0.15
    drawn = datasets.load("mnist", "test").take(400, Generator().manual_seed(1501))
    network = zoo.load("s3-cnn").requires_grad_(False)
    scores = [Divergence(zoo.load("s3-vae")), CrossNetworkNLL(network, zoo.load("rbf"))]
    defense: nn.Module = network
    with torch.no_grad():
        for score in scores:
            limit = threshold_at(score.requires_grad_(False)(drawn.images[:300]), 0.05)
            defense = Detected(defense, score, limit, 3.0)
        right = (defense(drawn.images[300:]).argmax(1) == drawn.labels[300:]).nonzero()[:30, 0]
    images, labels = drawn.images[300:][right], drawn.labels[300:][right]
    solve = exercise.solution(answer, defense, images, labels, epsilon)
    if solve is None:
        return
    found = solve(defense, images.clone(), labels.clone(), epsilon)
    moved = require_budget(exercise, images, found, epsilon)
    with torch.no_grad():
        said = defense(moved).argmax(1)
    alarms, wrong = int((said >= 10).sum()), int(((said != labels) & (said < 10)).sum())
    exercise.require(
        wrong >= 21,
        f"{wrong} of {len(images)} digits are misclassified without an alarm, {alarms} raise one; "
        "the bar is 21. The alarms are classes, too. Aim at a class that is not an alarm; any "
        "wrong digit will do.",
    )
    exercise.confirm(f"{wrong} of {len(images)} digits are misclassified without an alarm.")
