"""The defenses of the arena: how each is built, and what an attacker goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from armsrace import datasets
from armsrace.attacks.composition import straight_through
from armsrace.contracts import Model
from armsrace.defenses import (
    Divergence,
    LatentProjection,
    LatentSearch,
    MagNet,
    Purified,
    ReconstructionError,
    Tempered,
    threshold_at,
)
from armsrace.models import zoo
from armsrace.models.vae import VariationalAutoencoder

HELD_OUT = 2_000
"""The last of the held-out digits set thresholds: where a reader has no others, the first are
those that are attacked."""


@dataclass(frozen=True)
class Defended:
    """A defense as it is judged.

    model: images (N, C, H, W) to logits (N, K). through: what attacks ask and differentiate in
    its place, by default the model. refuses: images to (N,) bool, those that are not read at all.
    """

    model: Model
    through: Model
    refuses: Callable[[Tensor], Tensor] | None = None

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


@dataclass(frozen=True)
class Defense:
    """One row: its words, the zoo's networks it is made of, and how.

    build: called with the networks in their order, and the settings as keywords. slow: each query
    is an optimisation, so that attacks take their brief options.
    """

    title: str
    about: str
    networks: tuple[str, ...]
    build: Callable[..., Defended]
    settings: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False

    def on(self, device: str) -> Defended:
        """The defense with its weights on a device."""
        networks = [zoo.load(name, device) for name in self.networks]
        return self.build(*networks, **self.settings)


def _plain(model: nn.Module) -> Defended:
    return Defended(model, model)


def _distilled(model: nn.Module, temperature: float) -> Defended:
    # At T = 1 the softmax saturates and the gradient rounds to zero; the decisions are the same.
    return Defended(model, Tempered(model, temperature))


def _held_out(model: nn.Module) -> Tensor:
    images = datasets.held_out("mnist").images[-HELD_OUT:]
    return images.to(next(model.parameters()).device)


def _magnet(model: nn.Module, one: nn.Module, two: nn.Module, rate: float) -> Defended:
    detectors = [ReconstructionError(one, 2), ReconstructionError(two, 1)]
    defense = MagNet(model, one, detectors).calibrate(_held_out(model), rate).eval()
    return Defended(defense, defense, defense.detected)


def _detected(model: nn.Module, vae: nn.Module, rate: float) -> Defended:
    score = Divergence(vae).eval()
    with torch.no_grad():
        threshold = threshold_at(score(_held_out(model)), rate)
    return Defended(model, model, lambda images: score(images) > threshold)


def _inverted(classifier: nn.Module, vae: nn.Module, steps: int) -> Defended:
    coder = cast(VariationalAutoencoder, vae)
    search = LatentSearch(20, restarts=1, steps=steps)
    return _purified(
        LatentProjection(coder.decode, search, starts=lambda x: coder.encode(x)[0][:, None]),
        classifier,
    )


def _gan(classifier: nn.Module, generator: nn.Module, restarts: int, steps: int) -> Defended:
    search = LatentSearch(128, restarts=restarts, steps=steps)
    return _purified(LatentProjection(generator, search), classifier)


def _purified(purifier: nn.Module, classifier: nn.Module) -> Defended:
    # The stand-in has exactly the purifier's values, so what it answers is the defense's answer.
    through = Purified(straight_through(purifier), classifier).eval()
    return Defended(through, through)


DEFENSES: dict[str, Defense] = {
    "s3-cnn": Defense("none, small", "the 16-32-64 network", ("s3-cnn",), _plain),
    "carlini-wagner": Defense(
        "none, C&W", "the Carlini–Wagner network", ("carlini-wagner",), _plain
    ),
    "rbf": Defense("RBF", "Goodfellow's shallow RBF network", ("rbf",), _plain),
    "maxout-fgsm": Defense(
        "FGSM training", "maxout, half its loss on FGSM images (ε = .25)", ("maxout-fgsm",), _plain
    ),
    "rand-fgsm": Defense(
        "RAND+FGSM training", "the 16-32-64 network, RAND+FGSM images (ε = .3)",
        ("s3-cnn-rand-fgsm",), _plain,
    ),
    "manifold-robust": Defense(
        "manifold training", "the 16-32-64 network, PGD images (L2, ε = 1.5) and overpowered pairs",
        ("manifold-robust",), _plain,
    ),
    "detector": Defense(
        "VAE detector", "the 16-32-64 network; the s3-vae's divergence refuses",
        ("s3-cnn", "s3-vae"), _detected, {"rate": 0.01},
    ),
    "magnet": Defense(
        "MagNet", "the Carlini–Wagner network behind autoencoder I; two detectors refuse",
        ("carlini-wagner", "magnet-1", "magnet-2"), _magnet, {"rate": 0.001},
    ),
    "distilled": Defense(
        "distillation", "the Carlini–Wagner network distilled at T = 100, attacked at T = 100",
        ("distilled-100",), _distilled, {"temperature": 100.0},
    ),
    "madry": Defense(
        "PGD training", "Madry's network, PGD images (ε = .3)", ("madry-pgd",), _plain
    ),
    "inverted": Defense(
        "invert, classify", "the 16-32-64 network reads what the manifold-vae draws; attacked "
        "straight through", ("s3-cnn", "manifold-vae"), _inverted, {"steps": 20}, slow=True,
    ),
    "defense-gan": Defense(
        "Defense-GAN", "classifier A reads what the generator draws, a cheap search; attacked "
        "straight through", ("defense-gan-a", "defense-gan"), _gan,
        {"restarts": 2, "steps": 40}, slow=True,
    ),
    "ensemble": Defense(
        "ensemble training", "Tramèr's A, half its loss on FGSM images of four networks (ε = .3)",
        ("tramer-a-ensemble",), _plain,
    ),
    "tramer-fgsm": Defense(
        "FGSM training, A", "Tramèr's A, half its loss on FGSM images (ε = .3)",
        ("tramer-a-fgsm",), _plain,
    ),
}  # fmt: skip
