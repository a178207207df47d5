"""MagNet: detectors refuse images far from the data, and a reformer moves the others toward it.

Meng and Chen 2017, "MagNet: a two-pronged defense against adversarial examples"; the authors' code
for the scales of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from armsrace.contracts import check_at_least, check_images
from armsrace.defenses.detection import Detected, threshold_at
from armsrace.defenses.purifier import Purified

TINY = 1e-12


class MagNet(Purified):
    """A classifier behind a reformer, with detectors that may refuse an image.

    As a network it returns the logits of the reformed image. For the accuracy of the whole defense
    look at `detected` too: the paper counts an adversarial image as handled where it is refused or
    classified correctly, and a clean one only where it passes and is classified correctly. Until
    `calibrate` has set the thresholds, no image is refused.

    Args:
        classifier: images (N, C, H, W) to logits (N, K), trained beforehand and left as it is.
        reformer: an autoencoder, images to images of the same shape.
        detectors: one or more modules from images to scores (N,), high where suspicious.

    Cost:
        Logits take one forward pass of the reformer and one of the classifier; `detected` one pass
        of each detector.

    References:
        Meng and Chen 2017, "MagNet", §4.

    Example:
        >>> autoencoder, held = zoo.load("magnet-1"), datasets.load("mnist").take(50).images
        >>> detectors = [defenses.ReconstructionError(autoencoder, p=1)]
        >>> magnet = defenses.MagNet(zoo.load("softmax"), autoencoder, detectors)
        >>> int(magnet.calibrate(held, rate=0.1).detected(held).sum())
        5
    """

    thresholds: Tensor

    def __init__(
        self, classifier: nn.Module, reformer: nn.Module, detectors: Sequence[nn.Module]
    ) -> None:
        super().__init__(reformer, classifier)
        if not detectors:
            raise ValueError("detectors must hold at least one detector")
        self.detectors = nn.ModuleList(detectors)
        self.register_buffer("thresholds", torch.full((len(detectors),), torch.inf))

    @torch.no_grad()
    def calibrate(self, images: Tensor, rate: float, batch_size: int = 500) -> MagNet:
        """Set each detector's threshold so that it refuses at most a fraction of clean images.

        Args:
            images: (N, C, H, W), held out, and not reported anywhere; the paper has 5,000.
            rate: that fraction, in [0, 1), .001 in the paper. Together D detectors may refuse up to
                D times as many.
            batch_size: images scored at once.

        Returns:
            The defense itself.
        """
        check_images(images)
        scores = torch.cat([self.scores(batch) for batch in images.split(batch_size)])
        thresholds = [threshold_at(column, rate) for column in scores.T]
        self.thresholds = torch.tensor(thresholds).to(self.thresholds.device)
        return self

    def scores(self, images: Tensor) -> Tensor:
        """Each detector's score of images (N, C, H, W): (N, detectors)."""
        return torch.stack([detector(images) for detector in self.detectors], dim=1)

    def detected(self, images: Tensor) -> Tensor:
        """(N,) bool: images (N, C, H, W) of which a score exceeds its threshold."""
        return (self.scores(images) > self.thresholds).any(dim=1)

    def excess(self, images: Tensor) -> Tensor:
        """How far scores are above their thresholds, as one number (N,): positive where refused.

        With ρ_d = log(score_d / threshold_d), so that detectors in different units weigh alike: the
        sum of all positive ρ_d, so that each detector that refuses has a gradient, and where there
        is none the largest ρ_d.
        """
        rho = (self.scores(images) + TINY).log() - (self.thresholds + TINY).log()
        return rho.relu().sum(dim=1) + rho.amax(dim=1).clamp_max(0)

    def with_refusal(self, scale: float = 10.0) -> Detected:
        """The whole defense as one network of K + 1 classes, the last of them "refused".

        An ordinary targeted attack on it looks for an image that the reformer and the classifier
        give the target, and that no detector refuses; `scale` is in logits per unit of `excess`.
        """
        return Detected(self, self.excess, 0.0, scale)


class ReconstructionError(nn.Module):
    """The score of an image x: the mean over its pixels of abs(x − ae(x)) to the power p.

    Args:
        autoencoder: ae, images (N, C, H, W) to images of that shape.
        p: > 0; MagNet has 1 and 2.

    References:
        Meng and Chen 2017, "MagNet", §4 (detectors).

    Example:
        >>> defenses.ReconstructionError(nn.Hardtanh(0.0, 0.5), p=2)(torch.ones(3, 1, 28, 28))
        tensor([0.2500, 0.2500, 0.2500])
    """

    def __init__(self, autoencoder: nn.Module, p: float) -> None:
        super().__init__()
        check_at_least("p", p, TINY)
        self.autoencoder, self.p = autoencoder, p

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        return (images - self.autoencoder(images)).abs().pow(self.p).flatten(1).mean(dim=1)


class JensenShannon(nn.Module):
    """The divergence, in nats, of a classifier's confidences in x and in its reconstruction ae(x).

    Args:
        autoencoder: ae, images (N, C, H, W) to images of that shape.
        classifier: images to logits (N, K).
        temperature: T > 0, by which logits are divided before the softmax, so that a confident
            network shows more than one class.

    References:
        Meng and Chen 2017, "MagNet", §4 (detectors).

    Example:
        >>> score = defenses.JensenShannon(nn.Identity(), zoo.load("softmax"), temperature=10.0)
        >>> score(torch.ones(3, 1, 28, 28)).detach()
        tensor([0., 0., 0.])
    """

    def __init__(self, autoencoder: nn.Module, classifier: nn.Module, temperature: float) -> None:
        super().__init__()
        check_at_least("temperature", temperature, TINY)
        self.autoencoder, self.classifier = autoencoder, classifier
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,), between 0 and log 2."""
        both = torch.cat([images, self.autoencoder(images)])
        log_p, log_q = (self.classifier(both) / self.temperature).log_softmax(dim=1).chunk(2)
        return jensen_shannon(log_p, log_q)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """The Jensen–Shannon divergence ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2, in nats, (N,).

    Args:
        first: log p (N, K).
        second: log q (N, K).

    Example:
        >>> logs = torch.tensor([[0.5, 0.5]]).log()
        >>> defenses.jensen_shannon(logs, logs)
        tensor([0.])
    """
    log_m = torch.logaddexp(first, second) - math.log(2)
    halves = [(log.exp() * (log - log_m)).sum(dim=1) / 2 for log in (first, second)]
    return sum(halves, torch.zeros_like(halves[0]))
