"""Detectors: a score per image, a threshold set on clean images, and one more class, "detected".

The class is Carlini and Wagner's 2017, "Adversarial examples are not easily detected", §3. First
come the scores of the tutorial that this course grew from, a divergence and a second network. Then
come three of the ten that Carlini and Wagner broke, and feature squeezing. Each is differentiable
wherever its parts are, so that an attack can use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from armsrace.contracts import (
    check_at_least,
    check_classes,
    check_count,
    check_images,
    check_labels,
)

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


class KernelDensity(nn.Module):
    """The score −log p(φ(x) | predicted class): high where the last hidden layer is unusual.

    φ(x) is the last hidden layer, t the class that the network predicts and X_t the training images
    of class t. The density is the mean of exp(−‖φ(x) − φ(x′)‖² / σ²) over x′ in X_t.

    Args:
        body: images (N, C, H, W) to features (N, F), the network without its last layer.
        head: features to logits (N, K), the last layer.
        images: (M, C, H, W), training images.
        labels: (M,) int64, their classes, from 0 to K − 1, each at least once.
        bandwidth: σ > 0, in units of the features. The paper takes the one with the greatest
            likelihood.
        batch_size: training images passed through the body at once.

    Differences from the paper:
        * The logarithm of the density, without its constant, computed by logsumexp. The density
          itself is 0 in float32 far from all training images, and so is its gradient.
        * No ratio to a density of noisy and of adversarial images, and no uncertainty from dropout:
          this is the density estimate alone, the part that Carlini and Wagner attack.

    Cost:
        One pass of the network, and the distances of N features from M. The features of the
        training images are kept, but not stored with the module's state.

    References:
        Feinman, Curtin, Shintre and Gardner 2017, "Detecting adversarial samples from artifacts",
        §5.1. Carlini and Wagner 2017, "Adversarial examples are not easily detected", §5.1.

    Example:
        >>> known, labels = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), torch.tensor([0, 1])
        >>> head = lambda features: torch.cat([1 - features, features], dim=1)
        >>> score = defenses.KernelDensity(nn.Flatten(), head, known, labels, bandwidth=1.0)
        >>> score(torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)).abs()
        tensor([0.0000, 0.0625, 0.0000])
    """

    center: Tensor
    stored: Tensor
    classes: Tensor

    def __init__(
        self, body: Callable[[Tensor], Tensor], head: Callable[[Tensor], Tensor], images: Tensor,
        labels: Tensor, bandwidth: float, batch_size: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        check_images(images)
        check_labels(labels, len(images))
        check_at_least("bandwidth", bandwidth, 1e-9)
        self.body, self.head, self.bandwidth = body, head, bandwidth
        with torch.no_grad():
            features = torch.cat([body(part) for part in images.split(batch_size)])
            count = head(features[:1]).shape[1]
        check_classes(labels, count)
        found = labels.bincount(minlength=count)
        if (found == 0).any():
            raise ValueError(f"labels must hold every class, got none of {int(found.argmin())}")
        # Distances do not change with the origin, and are more exact with this one.
        center = features.mean(dim=0)
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("stored", features - center, persistent=False)
        self.register_buffer("classes", labels.clone(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        features = self.body(images)
        predicted = self.head(features).argmax(dim=1, keepdim=True)
        features, stored = features - self.center.to(features), self.stored.to(features)
        products = features @ stored.T
        # ‖φ − φ′‖² multiplied out: one matrix product.
        squares = features.square().sum(dim=1, keepdim=True) + stored.square().sum(dim=1)
        others = self.classes != predicted
        kernels = ((2 * products - squares) / self.bandwidth**2).masked_fill(others, -math.inf)
        members = (~others).sum(dim=1).to(kernels)
        return members.log() - kernels.logsumexp(dim=1)


class PrincipalComponents(nn.Module):
    """The score Σ_{i > k} (v_iᵀ(x − μ))²: an image's weight in the last principal components.

    μ is the mean of the training images and v_1, v_2, … their principal components, the one with
    the greatest variance first. The score is the squared distance of x from the plane through μ
    that the first k span, in squared pixel units.

    Args:
        images: (M, C, H, W), training images, at least two.
        first: k, how many components do not count, from 0 to C · H · W − 1.

    Differences from the paper:
        * The coefficients are not divided by their standard deviations, and their squares are
          added; the paper takes the variance of the whitened coefficients. MNIST has pixels that
          are black in every training image, so that its last components have no variance.

    Cost:
        Once, the eigenvectors of a square matrix of C · H · W rows, in float64. Per image, a matrix
        product. The components are not stored with the module's state.

    References:
        Hendrycks and Gimpel 2017, "Early methods for detecting adversarial images", §2. Carlini and
        Wagner 2017, "Adversarial examples are not easily detected", §4.

    Example:
        >>> line = torch.tensor([[0.0, 0.5], [0.5, 0.5], [1.0, 0.5]]).view(3, 1, 1, 2)
        >>> score = defenses.PrincipalComponents(line, first=1)
        >>> score(torch.tensor([0.9, 0.7]).view(1, 1, 1, 2))
        tensor([0.0400])
    """

    mean: Tensor
    components: Tensor

    def __init__(self, images: Tensor, first: int) -> None:
        super().__init__()
        check_images(images)
        check_count("first", first, 0)
        pixels = images.flatten(1)
        if len(images) < 2:
            raise ValueError("images must hold two or more, got 1")
        if first >= pixels.shape[1]:
            raise ValueError(f"first must be < {pixels.shape[1]}, the pixels, got {first}")
        # Not every device has float64.
        exact = pixels.cpu().double()
        mean = exact.mean(dim=0)
        directions = torch.linalg.eigh((exact - mean).T @ (exact - mean)).eigenvectors
        last = directions.flip(1)[:, first:]
        self.register_buffer("mean", mean.to(images), persistent=False)
        self.register_buffer("components", last.to(images), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        centered = images.flatten(1) - self.mean.to(images)
        return (centered @ self.components.to(images)).square().sum(dim=1)


class TrainedDetector(nn.Module):
    """The score z_1(x) − z_0(x), the log odds that a second network gives "adversarial".

    Args:
        network: images (N, C, H, W) to logits (N, 2), of "clean" and of "adversarial". The zoo has
            "trained-detector", trained on digits and on adversarial images of "s3-cnn".

    References:
        Gong, Wang and Ku 2017, "Adversarial and clean data are not twins", and Metzen, Genewein,
        Fischer and Bischoff 2017, "On detecting adversarial perturbations", whose network reads
        hidden layers. Grosse et al. 2017 add a class to the classifier itself. Carlini and Wagner
        2017, "Adversarial examples are not easily detected", §3.

    Example:
        >>> defenses.TrainedDetector(nn.Flatten())(torch.tensor([0.2, 0.9]).view(1, 1, 1, 2))
        tensor([0.7000])
    """

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        logits = self.network(images)
        if logits.ndim != 2 or logits.shape[1] != 2:
            raise ValueError(f"network must return logits (N, 2), got {tuple(logits.shape)}")
        return logits[:, 1] - logits[:, 0]


class FeatureSqueezing(nn.Module):
    """The score max_j ‖p(x) − p(s_j(x))‖₁: how much squeezing an image changes the prediction.

    p(x) are the softmax outputs, in (0, 1) and of sum 1, so that the score is between 0 and 2.

    Args:
        classifier: images (N, C, H, W) to logits (N, K).
        squeezers: s_1, s_2, …, images to images of the same shape. For MNIST the paper has
            `BitDepth(1)` and `MedianFilter(2)`. An attack needs `bpda(BitDepth(1))` in place of the
            first, which has the same values.

    Differences from the paper:
        * Non-local means, the paper's third squeezer, is not here. For MNIST it is not used.

    Cost:
        One pass of the classifier, and one more for each squeezer.

    References:
        Xu, Evans and Qi 2018, "Feature squeezing: detecting adversarial examples in deep neural
        networks", §V. He, Wei, Chen, Carlini and Song 2017, "Adversarial example defenses:
        ensembles of weak defenses are not strong", §4, for the break.

    Example:
        >>> model, digits = zoo.load("softmax"), datasets.load("mnist").take(4)
        >>> squeezers = [defenses.BitDepth(1), defenses.MedianFilter(2)]
        >>> defenses.FeatureSqueezing(model, squeezers)(digits.images).shape
        torch.Size([4])
    """

    def __init__(
        self, classifier: Callable[[Tensor], Tensor],
        squeezers: Sequence[Callable[[Tensor], Tensor]],
    ) -> None:  # fmt: skip
        super().__init__()
        if not squeezers:
            raise ValueError("squeezers must hold at least one")
        self.classifier, self.squeezers = classifier, tuple(squeezers)
        # So that those that are modules follow the device.
        self.modules_of = nn.ModuleList(s for s in squeezers if isinstance(s, nn.Module))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        p = self.classifier(images).softmax(dim=1)
        squeezed = [self.classifier(squeeze(images)).softmax(dim=1) for squeeze in self.squeezers]
        return torch.stack([(p - q).abs().sum(dim=1) for q in squeezed]).amax(dim=0)


class BitDepth(nn.Module):
    """Rounds every pixel to the nearest of 2^bits equally spaced values in [0, 1].

    Its gradient is 0 everywhere: an attack needs `attacks.adaptive.bpda(BitDepth(bits))`.

    Args:
        bits: per pixel, at least 1.

    References:
        Xu, Evans and Qi 2018, "Feature squeezing", §III-A.

    Example:
        >>> defenses.BitDepth(1)(torch.tensor([[[[0.2, 0.7]]]]))
        tensor([[[[0., 1.]]]])
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        check_count("bits", bits)
        self.bits = bits

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to images of that shape."""
        highest = 2**self.bits - 1
        return (images * highest).round() / highest


class MedianFilter(nn.Module):
    """Replaces every pixel by the median of the size × size pixels around it.

    The window of an even size has one more row above and one more column to the left, and the
    greater of the two middle values is taken. Edges are mirrored, with the last pixel repeated. The
    gradient goes to the pixel that is the median, so that the filter is differentiable almost
    everywhere.

    Args:
        size: of the window, in pixels, at least 1 and at most twice the image's shorter side.

    References:
        Xu, Evans and Qi 2018, "Feature squeezing", §III-B.

    Example:
        >>> dot = torch.zeros(1, 1, 3, 3)
        >>> dot[0, 0, 1, 1] = 1.0
        >>> defenses.MedianFilter(3)(dot).sum()
        tensor(0.)
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        check_count("size", size)
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to images of that shape."""
        if self.size > 2 * min(images.shape[2:]):
            raise ValueError(f"size must be <= twice the shorter side, got {self.size}")
        rows, columns = (self._mirrored(side, images.device) for side in images.shape[2:])
        padded = images[:, :, rows][:, :, :, columns]
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        return windows.sort(dim=4, stable=True).values[..., self.size**2 // 2]

    def _mirrored(self, side: int, device: torch.device) -> Tensor:
        """Indices (side + size − 1,) of the pixels with those that padding repeats."""
        before = self.size // 2
        places = torch.arange(side + self.size - 1, device=device) - before
        places = torch.where(places < 0, -1 - places, places)
        return torch.where(places >= side, 2 * side - 1 - places, places)


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
