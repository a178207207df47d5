"""Checks of the exercises on hidden layers: changes, perplexity, a boundary, a detector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn

from armsrace import datasets
from armsrace.exercises import Exercise, require_budget
from armsrace.losses import margin
from armsrace.models import zoo


def check_relative_change(answer: object) -> None:
    """Check `relative_change(before, after)` for activations (N, F, H, W).

    The result is ‖after − before‖₂ / ‖before‖₂, one number per image, (N,).
    """
    draws = Generator().manual_seed(9)
    before = torch.rand(3, 2, 4, 4, generator=draws) + 0.1
    after = before + torch.randn(3, 2, 4, 4, generator=draws) * torch.tensor([0.01, 0.1, 1.0]).view(
        3, 1, 1, 1
    )
    exercise = Exercise("The relative change")
    solve = exercise.solution(answer, before, after)
    if solve is None:
        return
    found = solve(before, after)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (3,),
        "return one number per image, (3,) here: over all filters and positions of a layer.",
    )
    found = found.to(before.dtype)
    change, size = (after - before).flatten(1), before.flatten(1)
    wrong = {
        "divide by the norm of the activation before, not after.": change.norm(dim=1)
        / after.flatten(1).norm(dim=1),
        "each image has its own norm; do not divide by the batch's.": change.norm(dim=1)
        / size.norm(),
        "that is the mean of the relative changes of single units. Take the norms first.": (
            change / size
        )
        .abs()
        .mean(dim=1),
        "that is the L1 norm; use L2.": change.abs().sum(dim=1) / size.abs().sum(dim=1),
        "take the square root.": (change.norm(dim=1) / size.norm(dim=1)) ** 2,
    }
    _refuse(exercise, found, wrong)
    exercise.require(
        torch.allclose(found, change.norm(dim=1) / size.norm(dim=1), rtol=1e-4),
        "that is not ‖after − before‖₂ / ‖before‖₂ of each image.",
    )
    exercise.confirm("A raw difference depends on the layer's scale; a relative change does not.")


def _refuse(exercise: Exercise, found: Tensor, wrong: Mapping[str, Tensor]) -> None:
    """Refuse each of the wrong answers with its hint."""
    for hint, value in wrong.items():
        exercise.require(not torch.allclose(found, value, rtol=1e-4), hint)


def check_perplexity(answer: object) -> None:
    """Check `perplexity(squared, sigma)`: van der Maaten and Hinton 2008, §2, equation 1.

    squared: (M,), squared distances from one point to the M others. sigma: the width of its
    Gaussian. The result is 2 to the power of the entropy, in bits, of the neighbors' probabilities.
    """
    squared = torch.tensor([0.5, 1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    exercise = Exercise("Perplexity")
    solve = exercise.solution(answer, squared, 1.0)
    if solve is None:
        return
    even = float(solve(torch.ones(7, dtype=torch.float64), 2.0))
    exercise.require(
        abs(even - 7) < 1e-4,
        f"seven neighbors at equal distance have perplexity 7; yours is {even:.4g}. The base "
        "of the power and that of the logarithm must be the same.",
    )
    logits = {
        "": -squared / 2,
        "the exponent is −d²/(2σ²): check the factor 2.": -squared,
        "the distances are squared already.": -(squared**2) / 2,
    }
    found = float(solve(squared, 1.0))
    values = {hint: _perplexity(values) for hint, values in logits.items()}
    for hint, value in values.items():
        exercise.require(not hint or abs(found - value) > 1e-4, hint)
    exercise.require(
        abs(found - values[""]) < 1e-4,
        f"at σ = 1 the distances given have perplexity {values['']:.4f}; yours is {found:.4g}.",
    )
    wide, right = float(solve(squared, 3.0)), _perplexity(-squared / 18)
    exercise.require(
        abs(wide - right) < 1e-4, "at σ = 3 the result is wrong: divide by σ², not by σ."
    )
    far = float(solve(squared + 4000, 1.0))
    exercise.require(
        abs(far - values[""]) < 1e-4,
        "adding a constant to all squared distances must not change the result, but the "
        "exponentials underflow: use softmax, which subtracts the largest exponent first.",
    )
    outlier = float(solve(torch.cat([squared, squared.new_tensor([1e6])]), 1.0))
    exercise.require(
        abs(outlier - values[""]) < 1e-4,
        "a neighbor that is very far away must not count. The limit of p log p is 0, "
        "but 0 · log 0 is NaN: use torch.xlogy(p, p).",
    )
    exercise.confirm(
        "It is a soft count of neighbors. For each point, t-SNE chooses σ to match a given count."
    )


def _perplexity(logits: Tensor) -> float:
    """The perplexity of a softmax."""
    return float(torch.distributions.Categorical(logits=logits).entropy().exp())


def check_shortest_move(answer: object) -> None:
    """Check `shortest_move(hidden, weight, bias, source, target)`: (N,) lengths in hidden space.

    hidden: (N, R). weight (K, R) and bias (K,): the last layer. The result is the smallest ‖Δh‖₂
    after which the target's logit equals the source's, or 0 if it is already larger.
    """
    draws = Generator().manual_seed(12)
    weight = torch.randn(4, 6, generator=draws, dtype=torch.float64)
    bias = torch.randn(4, generator=draws, dtype=torch.float64)
    hidden = 3 * torch.randn(40, 6, generator=draws, dtype=torch.float64)
    exercise = Exercise("How near is the boundary?")
    solve = exercise.solution(answer, hidden, weight, bias, 1, 3)
    if solve is None:
        return
    found = solve(hidden, weight, bias, 1, 3)
    exercise.require(
        isinstance(found, Tensor) and found.shape == (40,),
        "return one length per image, (40,) here.",
    )
    normal = weight[3] - weight[1]
    gap = hidden @ normal + bias[3] - bias[1]
    wrong = {
        "that is the gap between the logits; divide by the rate at which a step closes it.": -gap,
        "include the bias.": -(hidden @ normal) / normal.norm(),
        "the gap closes at the rate ‖w_t − w_s‖₂, not its square.": -gap / normal.norm() ** 2,
        "both logits change: divide by the norm of the difference of their weights.": -gap
        / weight[3].norm(),
    }
    _refuse(exercise, found, {hint: value.clamp_min(0) for hint, value in wrong.items()})
    exercise.require(
        bool((found[gap > 0] == 0).all()),
        "if the target's logit is already larger, the length is 0.",
    )
    exercise.require(
        torch.allclose(found, (-gap / normal.norm()).clamp_min(0)),
        "that is not the smallest length.",
    )
    exercise.confirm("The boundary can be much nearer than any digit of the other class.")


class NeighborDetector:
    """A network, and a second classifier by the nearest digits in its last hidden layer.

    Args:
        network: whose last module is linear.
        bank: (M, 1, 28, 28), with their labels.
        labels: (M,).
        spare: images of which 5 % are rejected; they set the threshold.
    """

    travels = ("network", "neighbors", "doubt", "accepts", "threshold")

    def __init__(self, network: nn.Sequential, bank: Tensor, labels: Tensor, spare: Tensor) -> None:
        self.network, self.body, self.labels = network, network[:-1], labels
        with torch.no_grad():
            self.bank = self.body(bank)
        self.threshold = float(self.doubt(spare).quantile(0.95))

    def neighbors(self, images: Tensor) -> Tensor:
        """Minus the distance to the nearest digit of each class in the bank, (N, 10)."""
        gaps = torch.cdist(self.body(images), self.bank)
        return -torch.stack([gaps[:, self.labels == k].amin(1) for k in range(10)], dim=1)

    @torch.no_grad()
    def doubt(self, images: Tensor) -> Tensor:
        """How much nearer a digit of another class is than one of the predicted class, (N,)."""
        return margin(self.neighbors(images), self.network(images).argmax(1))

    def accepts(self, images: Tensor) -> Tensor:
        """Whether the doubt is at most the threshold, (N,) bool."""
        return self.doubt(images) <= self.threshold


def check_evade(answer: object) -> None:
    """Check `attack(detector, images, labels, epsilon)`: (N, 1, 28, 28) within ‖δ‖∞ ≤ ε.

    detector: `NeighborDetector`. At least 28 of 40 digits must be misclassified and accepted.
    """
    exercise, epsilon = Exercise("Past the neighbors"), 0.15
    drawn = datasets.load("mnist", "test").take(700, Generator().manual_seed(1103))
    parts, classes = drawn.images.split((400, 200, 100)), drawn.labels.split((400, 200, 100))
    network = zoo.load("s3-cnn")
    assert isinstance(network, nn.Sequential)
    detector = NeighborDetector(network, parts[0], classes[0], parts[1])
    with torch.no_grad():
        right = (network(parts[2]).argmax(1) == classes[2]) & detector.accepts(parts[2])
    images, labels = parts[2][right][:40], classes[2][right][:40]
    solve = exercise.solution(answer, detector, images, labels, epsilon)
    if solve is None:
        return
    found = solve(detector, images.clone(), labels.clone(), epsilon)
    moved = require_budget(exercise, images, found, epsilon)
    with torch.no_grad():
        wrong = network(moved).argmax(1) != labels
    passed = int((wrong & detector.accepts(moved)).sum())
    exercise.require(
        passed >= 28,
        f"{int(wrong.sum())} of {len(images)} digits are misclassified, and {passed} of these are "
        "accepted; the bar is 28. The two classifiers have different scales: try several weights "
        "and keep what works for each image.",
    )
    exercise.confirm(f"{passed} of {len(images)} digits are misclassified and accepted.")
