"""How the defenses of the arena are built, and what an attacker goes through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from armsrace import datasets
from armsrace.attacks.composition import straight_through
from armsrace.contracts import Model
from armsrace.defenses import (
    AnalysisBySynthesis,
    Binarized,
    ClassWeighted,
    Detected,
    Divergence,
    LatentProjection,
    LatentSearch,
    LevenbergMarquardt,
    MagNet,
    NearestNeighbor,
    Purified,
    ReconstructionError,
    Tempered,
    threshold_at,
)
from armsrace.defenses.binary_synthesis import FACTORS
from armsrace.models.class_decoders import ClassDecoders
from armsrace.models.class_vaes import ClassVaes
from armsrace.models.vae import VariationalAutoencoder

HELD_OUT = 2_000
"""The last of the held-out digits set thresholds: where a reader has no others, the first are
those that are attacked."""


@dataclass(frozen=True)
class Defended:
    """A defense as it is judged.

    model: images (N, C, H, W) to logits (N, K). through: what attacks ask and differentiate in
    its place. refuses: images to (N,) bool, those that are not read at all. aware: images to
    (N, K + 1), the last class "refused", for an attacker who knows of the detector too.
    """

    model: Model
    through: Model
    refuses: Callable[[Tensor], Tensor] | None = None
    aware: Model | None = None

    @torch.no_grad()
    def beaten(self, images: Tensor, labels: Tensor) -> Tensor:
        """(N,) bool: adversarial images that are let through and misread."""
        wrong = self.model(images).argmax(dim=1) != labels
        return wrong if self.refuses is None else wrong & ~self.refuses(images)

    @torch.no_grad()
    def served(self, images: Tensor, labels: Tensor) -> Tensor:
        """(N,) bool: clean images that are let through and read rightly."""
        right = self.model(images).argmax(dim=1) == labels
        return right if self.refuses is None else right & ~self.refuses(images)


def plain(model: nn.Module) -> Defended:
    """A network as it is."""
    return Defended(model, model)


def distilled(model: nn.Module, temperature: float) -> Defended:
    """A distilled network, attacked at the temperature that it was trained at."""
    # At T = 1 the softmax saturates and the gradient rounds to zero; the decisions are the same.
    return Defended(model, Tempered(model, temperature))


def _held_out(model: nn.Module) -> Tensor:
    images = datasets.held_out("mnist").images[-HELD_OUT:]
    return images.to(next(model.parameters()).device)


def magnet(model: nn.Module, one: nn.Module, two: nn.Module, rate: float) -> Defended:
    """MagNet: reformer and detector of autoencoder one, a second detector of two."""
    detectors = [ReconstructionError(one, 2), ReconstructionError(two, 1)]
    defense = MagNet(model, one, detectors).calibrate(_held_out(model), rate).eval()
    return Defended(defense, defense, defense.detected, defense.with_refusal().eval())


def detected(model: nn.Module, vae: nn.Module, rate: float) -> Defended:
    """A network behind the divergence of a VAE, which refuses."""
    score = Divergence(vae).eval()
    with torch.no_grad():
        threshold = threshold_at(score(_held_out(model)), rate)
    aware = Detected(model, score, threshold).eval()
    return Defended(model, model, lambda images: score(images) > threshold, aware)


def inverted(classifier: nn.Module, vae: nn.Module, steps: int) -> Defended:
    """Invert and classify: the search starts at the VAE's own code."""
    coder = cast(VariationalAutoencoder, vae)
    search = LatentSearch(20, restarts=1, steps=steps)
    return _purified(
        LatentProjection(coder.decode, search, starts=lambda x: coder.encode(x)[0][:, None]),
        classifier,
    )


def gan(classifier: nn.Module, generator: nn.Module, restarts: int, steps: int) -> Defended:
    """Defense-GAN: the search starts anywhere."""
    search = LatentSearch(128, restarts=restarts, steps=steps)
    return _purified(LatentProjection(generator, search), classifier)


def neighbor() -> Defended:
    """The nearest held-out image decides."""
    known = datasets.held_out("mnist")
    return plain(NearestNeighbor(known.images, known.labels))


def binarized(classifier: nn.Module, width: float) -> Defended:
    """A network that reads black and white pixels, attacked through a sigmoid of that width."""
    # The identity in its place would spend the budget on pixels that are far from the threshold.
    return _purified(Binarized(), classifier, lambda images: ((images - 0.5) / width).sigmoid())


def synthesis(vaes: nn.Module, steps: int, samples: int) -> Defended:
    """Analysis by synthesis, searched from the best sample on; its gradient is the envelope's."""
    return plain(_explaining(vaes, steps, samples))


def binary_synthesis(vaes: nn.Module, steps: int, samples: int, width: float) -> Defended:
    """Binary ABS with the factors that were fitted to the zoo's."""
    model = _explaining(vaes, steps, samples)
    return binarized(ClassWeighted(model, torch.tensor(FACTORS)), width)


def _explaining(vaes: nn.Module, steps: int, samples: int) -> AnalysisBySynthesis:
    search = LevenbergMarquardt(steps=steps, starts=1)
    decoders = ClassDecoders(cast(ClassVaes, vaes))
    return AnalysisBySynthesis(decoders, search=search, samples=samples)


def _purified(
    purifier: nn.Module, classifier: nn.Module, backward: Callable[[Tensor], Tensor] | None = None
) -> Defended:
    # The stand-in has exactly the purifier's values, so what it answers is the defense's answer.
    through = Purified(straight_through(purifier, backward=backward), classifier).eval()
    return Defended(through, through)
