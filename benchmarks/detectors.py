"""Four published detectors, and attacks that do not know of them and that do.

For each detector the first test digits that the network classifies correctly and the detector lets
through while clean. Thresholds are set at 5 % false positives on held-out training images that are
in no other part of a detector. The attacks: PGD (L∞) and C&W (L2) on the classifier alone, and C&W
on classifier and detector as one network of K + 1 classes, all toward the second most likely class.
Feature squeezing is also attacked without BPDA, and with BPDA on its own score. The result goes to
data/measured/detectors.json: per digit, whether the image fools the classifier, whether it also
passes the detector, and its L2 distance (0 where it does not fool).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from measure import first_right
from rich.console import Console
from torch import Tensor, nn

from armsrace import attacks, datasets, defenses, evaluation, ledger, zoo
from armsrace.attacks.adaptive import bpda
from armsrace.datasets import Dataset
from armsrace.models.layers import predict
from armsrace.norms import distances

CONSOLE = Console()
STUDY = "detectors"
RATE = 0.05
STORED = 3_000
"""So many held-out images make a detector, the other 3,000 set its threshold."""
FIRST = 100
BANDWIDTHS = [2.0 ** (step / 2) for step in range(-6, 9)]
EPSILON = 0.2
LEAD = 5.0
"""In logits; at a lead of 5 softmax outputs are within about .01 of the end."""


class Squeezed(nn.Module):
    """The score of squeezing for an attack: as BPDA's, and above the threshold a margin more.

    Softmax outputs saturate, and then the score has no gradient. The added margin is the sum over
    the squeezed images of how far another class's logit exceeds that of the class predicted for the
    image itself. It is at least 0 and added only where the score is above the threshold, so that
    the same images are detected.
    """

    def __init__(self, classifier: nn.Module, squeezers: list[nn.Module], threshold: float) -> None:
        super().__init__()
        self.score = defenses.FeatureSqueezing(classifier, squeezers)
        self.classifier, self.threshold = classifier, threshold
        self.squeezers = nn.ModuleList(squeezers)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores (N,)."""
        score = self.score(images)
        predicted = self.classifier(images).argmax(dim=1, keepdim=True)
        behind = torch.zeros_like(score)
        for squeeze in self.squeezers:
            logits = self.classifier(squeeze(images))
            own = logits.gather(1, predicted)
            others = logits.scatter(1, predicted, -torch.inf).amax(dim=1, keepdim=True)
            behind = behind + (others - own + LEAD).relu().squeeze(1)
        return torch.where(score > self.threshold, score + behind, score)


def likeliest_bandwidth(model: nn.Sequential, known: Dataset, images: Tensor) -> float:
    """The bandwidth under which other images' features have the greatest likelihood."""
    likelihoods = []
    for bandwidth in BANDWIDTHS:
        score = defenses.KernelDensity(model[:-1], model[-1], known.images, known.labels, bandwidth)
        features = score.stored.shape[1]
        density = -predict(score, images).mean().item()
        likelihoods.append(density - features * math.log(bandwidth))
    return BANDWIDTHS[likelihoods.index(max(likelihoods))]


def kernel_density(model: nn.Sequential, known: Dataset, clean: Tensor) -> tuple[nn.Module, str]:
    """On the first held-out images, with the likeliest bandwidth, and that in words."""
    bandwidth = likeliest_bandwidth(model, known, clean[:1000])
    parts = model[:-1], model[-1], known.images, known.labels
    return defenses.KernelDensity(*parts, bandwidth), f"bandwidth {bandwidth:.3g}"


def components(model: nn.Sequential, known: Dataset, clean: Tensor) -> tuple[nn.Module, str]:
    """All but the first components."""
    score = defenses.PrincipalComponents(known.images, FIRST)
    return score, f"all components but the first {FIRST}"


def trained(model: nn.Sequential, known: Dataset, clean: Tensor) -> tuple[nn.Module, str]:
    """The zoo's."""
    return defenses.TrainedDetector(zoo.load("trained-detector")), "the zoo's trained-detector"


def squeezing(model: nn.Sequential, known: Dataset, clean: Tensor) -> tuple[nn.Module, str]:
    """One bit and a median of 2 × 2, as the paper has for MNIST."""
    squeezers = [defenses.BitDepth(1), defenses.MedianFilter(2)]
    return defenses.FeatureSqueezing(model, squeezers), "1 bit, and a median of 2 × 2"


@dataclass(frozen=True)
class Study:
    """A detector, the network that it guards, and the search: logits per unit of score, and C&W's.

    The kernel density needs a network whose last hidden layer is dense.
    """

    network: str
    build: Callable[[nn.Sequential, Dataset, Tensor], tuple[nn.Module, str]]
    scale: float | None = None
    search: dict[str, Any] = field(
        default_factory=lambda: {
            "initial_constant": 1.0, "binary_search_steps": 5, "steps": 150, "step_size": 0.05
        }
    )  # fmt: skip


STUDIES = {
    "kernel density": Study("carlini-wagner", kernel_density),
    "principal components": Study("s3-cnn", components),
    "trained detector": Study("s3-cnn", trained),
    "feature squeezing": Study(
        "s3-cnn", squeezing, 1.0,
        {"initial_constant": 5.0, "binary_search_steps": 4, "steps": 150, "step_size": 0.1,
         "abort_early": False},
    ),
}  # fmt: skip


def run(name: str, count: int) -> None:
    """Attack one detector, and record."""
    study, held_out = STUDIES[name], datasets.held_out("mnist")
    model = cast(nn.Sequential, zoo.load(study.network))
    first = torch.arange(len(held_out)) < STORED
    known, clean = held_out.where(first), held_out.where(~first).images
    score, words = study.build(model, known, clean)
    of_clean = predict(score, clean)
    threshold = defenses.threshold_at(of_clean, RATE)
    # A logit per standard deviation of the clean scores that pass.
    scale = study.scale or 1.0 / of_clean[of_clean <= threshold].std().item()
    guard = defenses.Detected(model, score, threshold, scale)
    images, labels = first_right(study.network, 2 * count)
    kept = (predict(guard, images).argmax(dim=1) == labels).nonzero()[:count, 0]
    images, labels = images[kept], labels[kept]
    targets = predict(model, images).topk(2).indices[:, 1]
    search = partial(attacks.carlini_wagner_l2, **study.search)
    aimed = {
        "PGD, unaware": partial(attacks.pgd, model, epsilon=EPSILON, steps=40, random_start=False),
        "C&W, unaware": partial(search, model),
        "C&W, aware": partial(search, guard),
    }
    if isinstance(score, defenses.FeatureSqueezing):
        through = [bpda(defenses.BitDepth(1)), defenses.MedianFilter(2)]
        soft = defenses.FeatureSqueezing(model, through)
        hard = Squeezed(model, through, threshold)
        for attack, behind in (
            ("C&W, no BPDA", score), ("C&W, BPDA", soft), ("C&W, aware", hard)
        ):  # fmt: skip
            aimed[attack] = partial(search, defenses.Detected(model, behind, threshold, scale))
    test = predict(score, datasets.load("mnist", "test").images)
    columns = {"false positives": [defenses.detection_rate(test, threshold)]}
    for attack, attempt in aimed.items():
        found = attempt(images, labels, targets=targets).images
        fooled = predict(model, found).argmax(dim=1) == targets
        undetected = predict(guard, found).argmax(dim=1) == targets
        sizes = torch.where(fooled, distances(found - images, "l2"), 0.0)
        for what, values in (
            ("fooled", fooled), ("undetected", undetected), ("distance", sizes)
        ):  # fmt: skip
            columns[f"{attack}: {what}"] = values.double().tolist()
        CONSOLE.print(
            name, attack, f"fooled {fooled.float().mean():.0%}, undetected",
            evaluation.with_interval(undetected.float().mean().item(), len(images)),
            f"mean distance {sizes[fooled].mean():.3f}",
        )  # fmt: skip
    ledger.record(
        STUDY, name, columns,
        settings=f"{study.network}; {words}; threshold at {RATE:.0%} of {len(clean):,} held-out "
        f"images; {scale:.3g} logits per unit of score; C&W L2, "
        f"{study.search['binary_search_steps']} constants of up to {study.search['steps']} steps; "
        f"PGD L∞, ε = {EPSILON}, 40 steps; toward the second most likely class",
        n=len(images), data=datasets.describe("mnist"),
    )  # fmt: skip


def main() -> None:
    """Record the detectors asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(STUDIES))
    parser.add_argument("--digits", type=int, default=60)
    chosen = parser.parse_args()
    for name in chosen.names or STUDIES:
        run(name, chosen.digits)


if __name__ == "__main__":
    main()
