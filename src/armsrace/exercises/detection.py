"""Checks of the exercises on detection: scores, a threshold, the class "detected"."""

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
        f"far away it is {float(right[1]):.2f}; yours is {float(found[1]):.2f}. Add no small "
        "number: an attacker's gradient would vanish.",
    )
    exercise.confirm("What hides a gradient may be nothing but the smallest float32.")


def check_squeezing(answer: object) -> None:
    """Check `squeezing(classifier, images, bits)`: ‖p(x) − p(s(x))‖₁, (N,), by straight-through.

    classifier: images (N, C, H, W) to logits (N, K). s rounds to 2^bits equally spaced values. The
    gradient must be that of s(x) = x at the rounded image, not 0.
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
        "the gradient must be that of both images, the second as if s(x) = x.",
    )
    exercise.confirm("The values are the defender's, the gradient is the attacker's.")


def check_unsaturated(answer: object) -> None:
    """Check `unsaturated(score, behind, threshold)`: scores (N,) that refuse the same images.

    score: (N,), the defender's, which has no gradient where softmax outputs are saturated. behind:
    (N,) >= 0, with a gradient. The result must be above the threshold exactly where `score` is, be
    `score` itself elsewhere, and have a gradient in `behind` wherever it is above.
    """
    exercise = Exercise("An alarm that points the way")
    score, threshold = torch.tensor([0.0, 0.5, 0.6, 2.0]), 0.5
    behind = torch.tensor([3.0, 2.0, 0.0, 7.0], requires_grad=True)
    solve = exercise.solution(answer, score, behind, threshold)
    if solve is None:
        return
    found = solve(score, behind, threshold)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (4,),
        "return one number per image, a tensor of shape (4,).",
    )
    exercise.require(
        bool(((found > threshold) == (score > threshold)).all()),
        "another image is refused now than by the defender's own score: the attack would then look "
        "for images that the defender refuses, or leave out some that pass.",
    )
    exercise.require(
        torch.equal(found[:2], score[:2]), "where no alarm is raised, keep the score as it is."
    )
    exercise.require(found.requires_grad, "the result does not depend on `behind`.")
    (grad,) = torch.autograd.grad(found.sum(), behind)
    exercise.require(
        bool((grad[2:] > 0).all()) and bool((grad[:2] == 0).all()),
        "above the threshold the result must increase with `behind`.",
    )
    exercise.confirm("The same decisions, and a way down: that is all an adaptive attack needs.")
