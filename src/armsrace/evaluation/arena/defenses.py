"""The defenses of the arena, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from armsrace.evaluation.arena.builders import (
    binarized,
    binary_synthesis,
    detected,
    distilled,
    gan,
    gated,
    inverted,
    magnet,
    neighbor,
    plain,
    synthesis,
)
from armsrace.evaluation.arena.defended import Defended
from armsrace.models import zoo


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

    def on(self, device: torch.device | str) -> Defended:
        """The defense with all that it holds on a device."""
        networks = [zoo.load(name, device) for name in self.networks]
        return self.build(*networks, **self.settings).to(device)


DEFENSES: dict[str, Defense] = {
    "s3-cnn": Defense("none, small", "the 16-32-64 network", ("s3-cnn",), plain),
    "carlini-wagner": Defense(
        "none, C&W", "the Carlini–Wagner network", ("carlini-wagner",), plain
    ),
    "rbf": Defense("RBF", "Goodfellow's shallow RBF network", ("rbf",), plain),
    "maxout-fgsm": Defense(
        "FGSM training", "maxout, half its loss on FGSM images (ε = .25)", ("maxout-fgsm",), plain
    ),
    "rand-fgsm": Defense(
        "RAND+FGSM training", "the 16-32-64 network, RAND+FGSM images (ε = .3)",
        ("s3-cnn-rand-fgsm",), plain,
    ),
    "manifold-robust": Defense(
        "manifold training", "the 16-32-64 network, PGD images (L2, ε = 1.5) and overpowered pairs",
        ("manifold-robust",), plain,
    ),
    "detector": Defense(
        "VAE detector", "the 16-32-64 network; the s3-vae's divergence refuses",
        ("s3-cnn", "s3-vae"), detected, {"rate": 0.01},
    ),
    "magnet": Defense(
        "MagNet", "the Carlini–Wagner network behind autoencoder I; two detectors refuse",
        ("carlini-wagner", "magnet-1", "magnet-2"), magnet, {"rate": 0.001},
    ),
    "distilled": Defense(
        "distillation", "the Carlini–Wagner network distilled at T = 100, attacked at T = 100",
        ("distilled-100",), distilled, {"temperature": 100.0},
    ),
    "madry": Defense(
        "PGD training", "Madry's network, PGD images (ε = .3)", ("madry-pgd",), gated
    ),
    "inverted": Defense(
        "invert, classify", "the 16-32-64 network reads what the manifold-vae draws; attacked "
        "straight through", ("s3-cnn", "manifold-vae"), inverted, {"steps": 20}, slow=True,
    ),
    "defense-gan": Defense(
        "Defense-GAN", "classifier A reads what the generator draws, a cheap search; attacked "
        "straight through", ("defense-gan-a", "defense-gan"), gan,
        {"restarts": 2, "steps": 40}, slow=True,
    ),
    "schott-cnn": Defense("none, ABS's CNN", "the CNN beside ABS", ("schott-cnn",), plain),
    "binary-cnn": Defense(
        "binary CNN", "the same network reads black and white pixels; attacked through a sigmoid",
        ("schott-cnn",), binarized, {"width": 0.1},
    ),
    "neighbor": Defense("nearest neighbor", "6,000 held-out digits, a class each", (), neighbor),
    "abs": Defense(
        "ABS", "analysis by synthesis, a quick search; attacked by the envelope's gradient",
        ("abs",), synthesis, {"steps": 12, "samples": 2_000}, slow=True,
    ),
    "binary-abs": Defense(
        "Binary ABS", "the same behind black and white pixels, its classes weighed; attacked "
        "through a sigmoid", ("abs",), binary_synthesis,
        {"steps": 12, "samples": 2_000, "width": 0.1}, slow=True,
    ),
    "ensemble": Defense(
        "ensemble training", "Tramèr's A, half its loss on FGSM images of four networks (ε = .3)",
        ("tramer-a-ensemble",), plain,
    ),
    "tramer-fgsm": Defense(
        "FGSM training, A", "Tramèr's A, half its loss on FGSM images (ε = .3)",
        ("tramer-a-fgsm",), plain,
    ),
}  # fmt: skip
