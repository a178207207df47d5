"""Kurakin, Goodfellow and Bengio's tables on 20 photographs, and what EOT makes of them.

Each name stores its recordings in data/measured/kurakin.json, image by image: whether the source is
classified correctly (top-1, top-5), and in what share of its photographs. What is there is not
measured again, unless --again is given, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Generator, Tensor, nn

from armsrace import attacks, datasets, evaluation, zoo
from armsrace.attacks import physical
from armsrace.contracts import AttackResult
from armsrace.ledger.measurements import is_recorded, record, record_change

CONSOLE = Console()
STUDY, NETWORK, DATA = "kurakin", "efficientnet-lite0", "imagenet-samples"
LEVELS = (2, 4, 8, 16)
METHODS: dict[str, Callable[..., AttackResult]] = {
    "fast": attacks.fgsm,
    "basic iterative": attacks.bim,
    "least likely": attacks.least_likely,
}
SHOTS = 5
"""Photographs of each image."""
STRENGTHS = (1, 2)
TARGET = 967
"""Espresso, as which Athalye et al. 2018 made a baseball be classified."""
ITERATED: dict[str, Any] = {"steps": 16, "step_size": 2 / 255, "epsilon": 16 / 255}


class Study:
    """The photographs, the network, and the adversarial images by method and gray levels."""

    def __init__(self) -> None:
        data = datasets.load(DATA)
        self.images, self.labels = data.images, data.labels
        self.model = zoo.load(NETWORK).eval().requires_grad_(False)
        self._made: dict[tuple[str, int], Tensor] = {}

    def made(self, method: str, level: int) -> Tensor:
        """Adversarial images, made once."""
        if method == "clean":
            return self.images
        if (method, level) not in self._made:
            found = METHODS[method](self.model, self.images, self.labels, epsilon=level / 255)
            self._made[method, level] = found.images
        return self._made[method, level]

    @torch.no_grad()
    def ranks(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """The rank (N,) of the label, or of other classes, among the logits; 0 is the first."""
        logits = self.model(images)
        own = logits.gather(1, (self.labels if classes is None else classes)[:, None])
        return (logits > own).sum(dim=1)

    def photographed(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Those ranks in SHOTS photographs, (SHOTS, N)."""
        draws = Generator().manual_seed(0)
        shots = [physical.camera(images, draws) for _ in range(SHOTS)]
        return torch.stack([self.ranks(shot, classes) for shot in shots])


def columns(prefix: str, ranks: Tensor) -> dict[str, list[float]]:
    """The shares of ranks (S, N) below 1 and 5 for each image."""
    return {f"{prefix} top-{k}": (ranks < k).double().mean(dim=0).tolist() for k in (1, 5)}


SHOWN = 15
"""The photograph on the page, whose perturbation is stored."""


def table_one(study: Study, method: str, level: int) -> None:
    """A row of Kurakin's Table 1: sources and photographs of one method at one ε."""
    images = study.made(method, level)
    rates = columns("source", study.ranks(images)[None])
    rates |= columns("photograph", study.photographed(images))
    settings = f"{NETWORK}; {SHOTS} photographs of each image, strength 1"
    _record(f"{method}: {level}", rates, settings)


def transformations(study: Study, method: str, strength: int) -> None:
    """Which transformed images of a method at ε = 16/255 are classified correctly, by part."""
    images = study.made(method, 16)
    rates = {
        name: (study.ranks(part(images)) < 1).double().tolist()
        for name, part in physical.parts(Generator().manual_seed(1), strength).items()
    }
    settings = f"{NETWORK}; each part alone at strength {strength}; ε = 16/255 for attacks"
    _record(f"{method}: parts at strength {strength}", rates, settings)


def through_the_camera(study: Study, shots: int) -> None:
    """The targeted basic iterative method, with 0 or more photographs in each step's gradient."""
    lens = Generator().manual_seed(1)
    model: Any = study.model
    if shots:
        model = attacks.eot(Through(study.model, lens), shots, average="logits")
    targets = torch.full_like(study.labels, TARGET)
    found = attacks.bim(model, study.images, study.labels, targets=targets, **ITERATED)
    own = study.photographed(found.images)
    aimed = study.photographed(found.images, targets)
    rates = {
        "source target": (study.ranks(found.images, targets) < 1).double().tolist(),
        "photograph target": (aimed < 1).double().mean(dim=0).tolist(),
        "photograph label": (own < 1).double().mean(dim=0).tolist(),
    }
    settings = (
        f"{NETWORK}; BIM, target {datasets.IMAGENET_CLASSES[TARGET]}, ε = 16/255, "
        f"{ITERATED['steps']} steps; {shots} photographs in each step, {SHOTS} to judge"
    )
    if shots:
        record_change(STUDY, "eot", (found.images - study.images)[SHOWN : SHOWN + 1])
    _record(f"EOT: {shots}", rates, settings)


class Through(nn.Module):
    """A network behind the camera."""

    def __init__(self, model: nn.Module, lens: Generator) -> None:
        super().__init__()
        self.model, self.lens = model, lens

    def forward(self, images: Tensor) -> Tensor:
        """The logits of one photograph of each image."""
        return self.model(physical.camera(images, self.lens))


def _record(name: str, found: dict[str, list[float]], settings: str) -> None:
    n = len(next(iter(found.values())))
    record(STUDY, name, found, settings=settings, n=n, data=datasets.describe(DATA))
    shares = {key: evaluation.with_interval(sum(row) / n, n) for key, row in found.items()}
    CONSOLE.print(name, shares)


def main() -> None:
    """Record what is not recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--only", default="", help="names that contain this")
    given = parser.parse_args()
    rows = [("clean", 0), *((method, level) for method in METHODS for level in LEVELS)]
    jobs = {f"{method}: {level}": partial(table_one, method=method, level=level)
            for method, level in rows}  # fmt: skip
    jobs |= {f"EOT: {shots}": partial(through_the_camera, shots=shots) for shots in (0, 4)}
    jobs |= {
        f"{method}: parts at strength {strength}": partial(
            transformations, method=method, strength=strength
        )
        for strength in STRENGTHS
        for method in ("clean", *METHODS)
    }
    study = Study()
    for name, job in jobs.items():
        if given.only in name and (given.again or not is_recorded(STUDY, name)):
            job(study)


if __name__ == "__main__":
    main()
