"""The defenses of the arena: how each is built, and how an attacker gets a gradient through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from armsrace import datasets
from armsrace.attacks.adaptive import bpda, unrolled
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
    TemperatureScaled,
    threshold_at,
)
from armsrace.defenses.analysis_by_synthesis.binary import FACTORS
from armsrace.evaluation.arena.defended import Defended
from armsrace.models import zoo
from armsrace.models.abs_vae import ClassDecoders, ClassVaes
from armsrace.models.autoencoders import VariationalAutoencoder

HELD_OUT = 2_000
"""So many of the last held-out digits set thresholds. With the embedded data alone, the first ones
are those that are attacked."""
SHARPNESS = 20.0
"""β of the softplus that replaces a threshold's gradient, as in the chapter on PGD training."""


@dataclass(frozen=True)
class Defense:
    """One row of the arena: a defense's name, the networks that it is made of, and how it is built.

    Args:
        title: its name in figures.
        about: one line on what it is.
        networks: names of the zoo.
        build: called with the networks in order, and the settings as keywords.
        settings: the keywords of `build`.
        slow: each query is an optimization, so attacks take their reduced options.
        explains: the names of its `explanations`.
    """

    title: str
    about: str
    networks: tuple[str, ...]
    build: Callable[..., Defended]
    settings: Mapping[str, Any] = field(default_factory=dict)
    slow: bool = False
    explains: tuple[str, ...] = ()

    def on(self, device: torch.device | str) -> Defended:
        """The defense, built on a device."""
        networks = [zoo.load(name, device) for name in self.networks]
        return self.build(*networks, **self.settings).to(device)


def plain(model: nn.Module) -> Defended:
    """A network without a defense, or trained by one."""
    return Defended(model, model)


def gated(network: nn.Sequential) -> Defended:
    """A network whose training made its first layer a threshold.

    Below the threshold its gradient is zero; the adaptive model has a softplus's gradient there.
    """
    hard = nn.Sequential(network[0], nn.ReLU())
    soft = nn.Sequential(network[0], nn.Softplus(beta=SHARPNESS))
    adaptive_model = nn.Sequential(bpda(hard, backward=soft), network[2:]).eval()
    return Defended(network, network, adaptive_model=adaptive_model)


def distilled(model: nn.Module, temperature: float) -> Defended:
    """A distilled network, attacked at its training temperature."""
    # At T = 1 the softmax saturates and the gradient rounds to zero. The decisions are the same.
    return Defended(model, TemperatureScaled(model, temperature))


def magnet(model: nn.Module, one: nn.Module, two: nn.Module, rate: float) -> Defended:
    """MagNet: autoencoder one is the reformer and a detector, autoencoder two a second detector."""
    detectors = [ReconstructionError(one, 2), ReconstructionError(two, 1)]
    defense = MagNet(model, one, detectors).calibrate(_held_out(model), rate).eval()
    return Defended(defense, defense, defense.detected, defense.with_refusal().eval())


def detected(model: nn.Module, vae: nn.Module, rate: float) -> Defended:
    """A network behind a detector, the divergence of a VAE."""
    score = Divergence(vae).eval()
    with torch.no_grad():
        threshold = threshold_at(score(_held_out(model)), rate)
    adaptive_model = Detected(model, score, threshold).eval()
    return Defended(model, model, lambda images: score(images) > threshold, adaptive_model)


def _held_out(model: nn.Module) -> Tensor:
    """The held-out digits that set thresholds, on the model's device."""
    images = datasets.held_out("mnist").images[-HELD_OUT:]
    return images.to(next(model.parameters()).device)


def inverted(classifier: nn.Module, vae: nn.Module, steps: int) -> Defended:
    """Invert and classify: the search starts at the VAE's own code of the image."""
    coder = cast(VariationalAutoencoder, vae)
    search = LatentSearch(20, restarts=1, steps=steps)
    projection = LatentProjection(
        coder.decode, search, starts=lambda x: coder.encode(x)[0][:, None]
    )
    differentiated = Purified(unrolled(projection), classifier).eval()
    return replace(_purified(projection, classifier), adaptive_model=differentiated)


def gan(classifier: nn.Module, generator: nn.Module, restarts: int, steps: int) -> Defended:
    """Defense-GAN: the search starts at random latents."""
    search = LatentSearch(128, restarts=restarts, steps=steps)
    return _purified(LatentProjection(generator, search), classifier)


def _purified(
    purifier: nn.Module, classifier: nn.Module, backward: Callable[[Tensor], Tensor] | None = None
) -> Defended:
    """A purifier before a classifier, attacked by BPDA."""
    # BPDA keeps the purifier's values, so the gradient model's logits are the defense's.
    gradient_model = Purified(bpda(purifier, backward=backward), classifier).eval()
    return Defended(gradient_model, gradient_model)


def neighbor() -> Defended:
    """The nearest held-out image decides the class."""
    known = datasets.held_out("mnist")
    model = NearestNeighbor(known.images, known.labels)
    return replace(plain(model), explanations={"explain": model.nearest})


def binarized(classifier: nn.Module, width: float) -> Defended:
    """A network on binarized pixels, attacked through a sigmoid of this width."""
    # The identity's gradient would spend the budget on pixels that are far from the threshold.
    return _purified(Binarized(), classifier, lambda images: ((images - 0.5) / width).sigmoid())


def synthesis(vaes: nn.Module, steps: int, samples: int) -> Defended:
    """Analysis by synthesis, by Levenberg–Marquardt from the best sample.

    Its gradient is the envelope's.
    """
    model = _explaining(vaes, steps, samples)
    return replace(plain(model), explanations={"explain": lambda x: model.explain(x).images})


def binary_synthesis(vaes: nn.Module, steps: int, samples: int, width: float) -> Defended:
    """Binary ABS with the factors that were fitted to the zoo's network."""
    model, binarize = _explaining(vaes, steps, samples), Binarized()
    factors = torch.tensor(FACTORS)
    known = {
        "explain": lambda x: model.explain(binarize(x)).images,
        "factors": factors,
        "threshold": binarize.threshold,
    }
    return replace(binarized(ClassWeighted(model, factors), width), explanations=known)


def _explaining(vaes: nn.Module, steps: int, samples: int) -> AnalysisBySynthesis:
    """Analysis by synthesis with the arena's search, Levenberg–Marquardt from one start."""
    search = LevenbergMarquardt(steps=steps, starts=1)
    decoders = ClassDecoders(cast(ClassVaes, vaes))
    return AnalysisBySynthesis(decoders, search=search, samples=samples)


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
        "invert, classify", "the 16-32-64 network classifies the manifold-vae's reconstruction; "
        "attacked straight through, where aimed through all steps of the search",
        ("s3-cnn", "manifold-vae"), inverted, {"steps": 20}, slow=True,
    ),
    "defense-gan": Defense(
        "Defense-GAN", "classifier A classifies the generator's reconstruction, a cheap "
        "search; attacked straight through", ("defense-gan-a", "defense-gan"), gan,
        {"restarts": 2, "steps": 40}, slow=True,
    ),
    "schott-cnn": Defense(
        "none, ABS's CNN", "the CNN that ABS is compared with", ("schott-cnn",), plain
    ),
    "binary-cnn": Defense(
        "binary CNN", "the same network on binarized pixels; attacked through a sigmoid",
        ("schott-cnn",), binarized, {"width": 0.1},
    ),
    "neighbor": Defense(
        "nearest neighbor", "6,000 held-out digits with their classes", (), neighbor,
        explains=("explain",),
    ),
    "abs": Defense(
        "ABS", "analysis by synthesis, 12 steps of Levenberg–Marquardt from the best of 2,000 "
        "samples; attacked by the envelope's gradient",
        ("abs",), synthesis, {"steps": 12, "samples": 2_000}, slow=True, explains=("explain",),
    ),
    "binary-abs": Defense(
        "Binary ABS", "the same on binarized pixels, its classes weighted; attacked "
        "through a sigmoid", ("abs",), binary_synthesis,
        {"steps": 12, "samples": 2_000, "width": 0.1}, slow=True,
        explains=("explain", "factors", "threshold"),
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
