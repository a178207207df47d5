"""MagNet: detectors that refuse images far from the data, and a reformer that draws near ones in.

Meng and Chen 2017; the authors' code for the scores' scales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from armsrace.contracts import check_at_least, check_images
from armsrace.defenses.detection import Detected, threshold_at
from armsrace.defenses.purified import Purified

TINY = 1e-12


class ReconstructionError(nn.Module):
    """The score of an image x: the mean over its pixels of the change to ae(x), to the power p.

    autoencoder: images (N, C, H, W) to images of that shape. p: > 0; MagNet has 1 and 2. Raises
    ValueError for another p.

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
    """The divergence, in nats, of what the classifier says of an image and of its reconstruction.

    autoencoder: images (N, C, H, W) to images of that shape. classifier: images to logits (N, K),
    divided by `temperature` before the softmax, so that a sure network shows more than one class.
    Raises ValueError for a temperature that is not above 0.

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
        first, second = (self.classifier(both) / self.temperature).log_softmax(dim=1).chunk(2)
        return jensen_shannon(first, second)


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2, in nats, (N,), of log p and log q (N, K).

    >>> logs = torch.tensor([[0.5, 0.5]]).log()
    >>> defenses.jensen_shannon(logs, logs)
    tensor([0.])
    """
    middle = torch.logaddexp(first, second) - math.log(2)
    halves = [(log.exp() * (log - middle)).sum(dim=1) / 2 for log in (first, second)]
    return sum(halves, torch.zeros_like(halves[0]))


class MagNet(Purified):
    """A classifier behind a reformer, with detectors that may refuse an image.

    classifier: images (N, C, H, W) to logits (N, K), trained beforehand and left as it is.
    reformer: an autoencoder. detectors: modules from images to scores (N,), high where suspicious.

    As a network it returns the logits of the reformed image; who counts accuracy must ask
    `detected` too. The paper counts an adversarial image as handled where it is refused or read
    right, and a clean one only where it is let through and read right. Until `calibrate` has set
    the thresholds nothing is refused. Raises ValueError without a detector.

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

    def scores(self, images: Tensor) -> Tensor:
        """Each detector's score of images (N, C, H, W): (N, detectors)."""
        return torch.stack([detector(images) for detector in self.detectors], dim=1)

    @torch.no_grad()
    def calibrate(self, images: Tensor, rate: float, batch_size: int = 500) -> MagNet:
        """Set each detector's threshold so that it refuses at most a share `rate` of clean images.

        images: (N, C, H, W), held out, and reported nowhere; the paper has 5,000 and rate .001.
        Together the detectors may refuse up to their number times that. Returns itself. Raises
        ValueError where the images break the contract or the rate is not in [0, 1).
        """
        check_images(images)
        scores = torch.cat([self.scores(batch) for batch in images.split(batch_size)])
        values = [threshold_at(column, rate) for column in scores.T]
        self.thresholds = torch.tensor(values).to(self.thresholds.device)
        return self

    def detected(self, images: Tensor) -> Tensor:
        """(N,) bool: images (N, C, H, W) of which a score exceeds its threshold."""
        return (self.scores(images) > self.thresholds).any(dim=1)

    def excess(self, images: Tensor) -> Tensor:
        """How far above its threshold the detectors see an image: (N,), above 0 where one does.

        The logarithms of score over threshold; those above 0 are added, so that each detector that
        objects pulls, and where none does the nearest to objecting counts. Detectors in unlike
        units weigh alike.
        """
        ratios = (self.scores(images) + TINY).log() - (self.thresholds + TINY).log()
        return ratios.relu().sum(dim=1) + ratios.amax(dim=1).clamp_max(0)

    def with_refusal(self, scale: float = 10.0) -> Detected:
        """The whole defense as one network of K + 1 classes, the last of them "refused".

        An ordinary targeted attack on it wants the target from classifier and reformer, and silence
        from every detector; `scale` is in logits a unit of `excess`.
        """
        return Detected(self, self.excess, 0.0, scale)
