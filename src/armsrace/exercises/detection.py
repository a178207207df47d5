"""Checks of the exercises on detection: a divergence, a threshold, the class "detected"."""

from __future__ import annotations

import torch
from torch import Tensor

from armsrace.defenses import threshold_at
from armsrace.exercises import Exercise


def check_divergence(answer: object) -> None:
    """Check `divergence(images, others)`: KL of images as distributions over pixels, nats, (N,).

    images, others: (N, C, H, W) in [0, 1], none of them all 0. Pixels at 0 must contribute 0.
    """
    images = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]], [[[0.2, 0.4], [0.6, 0.8]]]])
    others = torch.tensor([[[[0.25, 0.25], [0.25, 0.25]]], [[[0.1, 0.2], [0.3, 0.4]]]])
    exercise = Exercise("How far apart two images are")
    solve = exercise.solution(answer, images, others)
    if solve is None:
        return
    found = solve(images, others)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (2,),
        "return one number per image, a tensor of shape (2,).",
    )
    exercise.require(
        bool(torch.isfinite(found).all()),
        "a pixel at 0 gives 0 · log 0: add a small number to each pixel, or use torch.xlogy.",
    )
    exercise.require(
        abs(float(found[1])) < 1e-3,
        "the second pair differs only in brightness: divide each image by its sum first.",
    )
    halved = torch.tensor(2.0).log()
    exercise.require(
        not torch.allclose(found, torch.tensor([1.0, 0.0]), atol=1e-3),
        "that is in bits: for nats use the natural logarithm.",
    )
    exercise.require(
        abs(float(found[0] - halved)) < 1e-3,
        f"all of the ink on half of the pixels, against equal pixels, gives log 2 = "
        f"{halved:.3f} nats; yours is {float(found[0]):.3f}.",
    )
    exercise.confirm("Ink where the reconstruction has none costs much; missing ink costs little.")


def check_threshold(answer: object) -> None:
    """Check `threshold(scores, rate)`: the smallest one that at most a fraction `rate` exceeds.

    scores: (N,), of clean images. rate: in [0, 1). The result is a number.
    """
    scores = torch.rand(200, generator=torch.Generator().manual_seed(0))
    exercise = Exercise("A threshold that keeps its promise")
    solve = exercise.solution(answer, scores, 0.05)
    if solve is None:
        return
    for name, values in {"scores": scores, "scores with ties": (10 * scores).round()}.items():
        for rate in (0.0, 0.05, 0.124, 0.5):
            found, right = float(solve(values, rate)), threshold_at(values, rate)
            fraction = float((values > found).float().mean())
            exercise.require(
                fraction <= rate + 1e-6,
                f"at rate {rate} your threshold flags {fraction:.1%} of the {name}.",
            )
            exercise.require(
                found <= right + 1e-6,
                f"at rate {rate} a smaller threshold is enough; yours detects less ({name}).",
            )
    exercise.confirm("The rate is a promise about clean images only.")


def check_guard(answer: object) -> None:
    """Check `guard(logits, scores, threshold)`: logits (N, K + 1), the last class "detected".

    logits: (N, K). scores: (N,). The last class must win exactly if the score is above the
    threshold. The others keep their logits, and the gradient reaches the score.
    """
    logits = torch.tensor([[2.0, 1.0, -1.0], [-3.0, -2.0, -5.0], [0.5, 4.0, 1.0]])
    scores = torch.tensor([0.2, 0.9, 0.6])
    exercise = Exercise("The class of detected images")
    solve = exercise.solution(answer, logits, scores, 0.5)
    if solve is None:
        return
    leaf = scores.clone().requires_grad_()
    found = solve(logits, leaf, 0.5)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3, 4),
        "return K + 1 logits per image: a tensor of shape (3, 4).",
    )
    exercise.require(
        torch.allclose(found[:, :3], logits),
        "the classes keep their logits, in the first K columns.",
    )
    exercise.require(
        found.argmax(dim=1).tolist() == [0, 3, 3],
        "class 3 must win exactly if the score is above 0.5; image 2 has only negative logits, "
        "so multiplying the largest one does not work.",
    )
    exercise.require(
        found.requires_grad,
        "an attack needs the score's gradient: use the score in the last logit, not only in an if.",
    )
    (grad,) = torch.autograd.grad(found[:, 3].sum(), leaf, allow_unused=True)
    exercise.require(
        grad is not None and bool((grad > 0).all()),
        "the last logit must increase with the score.",
    )
    exercise.confirm("Any targeted attack on these logits also evades the detector.")
