"""Detectors: a score per image, a threshold set on clean images, and one more class, "detected".

The class is Carlini and Wagner's 2017, "Adversarial examples are not easily detected", §3. The
scores are those of the tutorial that this course grew from: a divergence, and a second network.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from armsrace.contracts import check_at_least

FLOOR = 1e-6
"""Added to every pixel before an image becomes a distribution: log has no gradient at 0."""


class Divergence(nn.Module):
    """The score KL(image ‖ reconstruction) in nats: high where an autoencoder fails.

    Args:
        autoencoder: images (N, C, H, W) to images of that shape, in [0, 1].

    Example:
        >>> defenses.Divergence(nn.Identity())(torch.ones(3, 1, 28, 28))
        tensor([0., 0., 0.])
    """

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        return divergence(images, self.autoencoder(images))


def divergence(images: Tensor, others: Tensor) -> Tensor:
    """Kullback–Leibler divergence KL(images ‖ others) in nats, (N,), each image a distribution.

    An image becomes a distribution over its pixels by division by their sum, after FLOOR was added
    to each, so that pixels and whole images at 0 have a finite divergence with a finite gradient.
    Brightness alone therefore does not count.

    Args:
        images: (N, C, H, W) in [0, 1].
        others: of the same shape, in [0, 1].

    Example:
        >>> defenses.divergence(*torch.ones(2, 3, 1, 28, 28))
        tensor([0., 0., 0.])
    """
    p, q = (_distribution(values) for values in (images, others))
    return (p * (p / q).log()).sum(dim=1)


def _distribution(images: Tensor) -> Tensor:
    """Pixels (N, D) that are positive and sum to 1."""
    mass = images.flatten(1) + FLOOR
    return mass / mass.sum(dim=1, keepdim=True)


class CrossNetworkNLL(nn.Module):
    """The score −log q(k | image) in nats, q a second network's, k the class the first predicts.

    Args:
        classifier: images to logits (N, K).
        second: images to log-confidences (N, K), which need not sum to 1 as confidences; an RBF
            network's do not.

    Example:
        >>> defenses.CrossNetworkNLL(nn.Flatten(), nn.Flatten())(torch.tensor([[[[0.2, 0.9]]]]))
        tensor([-0.9000])
    """

    def __init__(self, classifier: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.classifier, self.second = classifier, second

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        predicted = self.classifier(images).argmax(dim=1, keepdim=True)
        return -self.second(images).gather(1, predicted).squeeze(1)


def threshold_at(scores: Tensor, rate: float) -> float:
    """The smallest threshold that at most a fraction `rate` of the clean scores exceeds.

    Args:
        scores: (N,), of clean images that are not reported anywhere.
        rate: the false-positive rate, in [0, 1); a greater one never has a greater threshold.

    Returns:
        One of the scores.

    Example:
        >>> defenses.threshold_at(torch.arange(100.0), rate=0.05)
        94.0
    """
    _check_scores(scores)
    if not 0 <= rate < 1:
        raise ValueError(f"rate must lie in [0, 1), got {rate:g}")
    # The product may come out a rounding error below the whole number that was meant.
    allowed = min(math.floor(rate * len(scores) + 1e-9), len(scores) - 1)
    return float(scores.sort().values[len(scores) - 1 - allowed])


def detection_rate(scores: Tensor, threshold: float) -> float:
    """The fraction of scores above the threshold; of clean images, the false-positive rate.

    Args:
        scores: (N,).
        threshold: in the unit of the scores.

    Example:
        >>> defenses.detection_rate(torch.arange(100.0), threshold=49)
        0.5
    """
    _check_scores(scores)
    return (scores > threshold).float().mean().item()


def _check_scores(scores: Tensor) -> None:
    """Raise unless scores are floating, (N,) with N >= 1, and finite."""
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        got = scores.dtype if isinstance(scores, Tensor) else type(scores).__name__
        raise TypeError(f"scores must be a floating torch.Tensor, got {got}")
    if scores.ndim != 1 or len(scores) == 0:
        raise ValueError(f"scores must have shape (N,), N >= 1, got {tuple(scores.shape)}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity")


class Detected(nn.Module):
    """A classifier behind a detector: K + 1 logits, of which the last wins above the threshold.

    The last logit is max_k z_k + scale · (score − threshold), so that an ordinary targeted attack
    on this network looks for an image of the target that is not detected. An untargeted attack
    looks for one of any wrong class that is not detected, since `last_class_rejects` is set: any
    model with this attribute, also a function, says so that its last class means "rejected".

    Args:
        classifier: images (N, C, H, W) to logits (N, K).
        score: images to (N,), high where suspicious.
        threshold: in the score's unit.
        scale: > 0, logits per unit of score.

    Differences from the paper:
        * Carlini and Wagner multiply, (score + 1) · max_k z_k, which needs positive logits.

    References:
        Carlini and Wagner 2017, "Adversarial examples are not easily detected", §3.

    Example:
        >>> model = defenses.Detected(nn.Flatten(), lambda x: x.amax(dim=(1, 2, 3)), threshold=0.5)
        >>> model(torch.tensor([[[[0.2, 0.9]]]]))
        tensor([[0.2000, 0.9000, 1.3000]])
    """

    last_class_rejects = True

    def __init__(
        self, classifier: nn.Module, score: Callable[[Tensor], Tensor], threshold: float,
        scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        check_at_least("scale", scale, 1e-9)
        self.classifier, self.score = classifier, score
        self.threshold, self.scale = threshold, scale

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, K + 1)."""
        logits = self.classifier(images)
        excess = self.scale * (self.score(images) - self.threshold)
        return torch.cat([logits, (logits.amax(dim=1) + excess)[:, None]], dim=1)
