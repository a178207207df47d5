"""How the defenses of the arena are built, and what an attacker goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from armsrace import datasets
from armsrace.attacks.composition import straight_through
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
from armsrace.evaluation.arena.defended import Defended
from armsrace.models.class_decoders import ClassDecoders
from armsrace.models.class_vaes import ClassVaes
from armsrace.models.vae import VariationalAutoencoder

HELD_OUT = 2_000
"""The last of the held-out digits set thresholds: where a reader has no others, the first are
those that are attacked."""
SHARPNESS = 20.0
"""Of the softplus whose slope a threshold is given: chapter 10's β."""


def plain(model: nn.Module) -> Defended:
    """A network as it is."""
    return Defended(model, model)


def gated(network: nn.Sequential) -> Defended:
    """A network whose training made its first layer a threshold; who knows, gives it a slope."""
    hard, soft = (
        nn.Sequential(network[0], bend) for bend in (nn.ReLU(), nn.Softplus(beta=SHARPNESS))
    )
    aware = nn.Sequential(straight_through(hard, backward=soft), network[2:]).eval()
    return Defended(network, network, aware=aware)


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
