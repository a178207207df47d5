"""What the benchmarks share: peers behind one signature, and what a run found, cost and took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from counting import Counting
from torch import Tensor, nn

from armsrace.contracts import AttackResult, Norm
from armsrace.evaluation import median_distance

try:
    foolbox: Any = import_module("foolbox")
    torchattacks: Any = import_module("torchattacks")
    art: Any = import_module("art.attacks.evasion")
    art_estimators: Any = import_module("art.estimators.classification")
except ImportError as error:
    raise SystemExit(f"{error}: the peers are not installed, run `make env`") from error


@dataclass(frozen=True)
class Contest:
    """A model, digits (N, C, H, W), labels (N,), targets (N,) or None: what all are given."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    targets: Tensor | None = None


Search = Callable[[Contest], Tensor]
"""Returns images (N, C, H, W): adversarial ones where it found them."""


@dataclass(frozen=True)
class Outcome:
    """Wall-clock seconds, forward passes an image, success, and the median distance.

    A failure counts as infinitely far. Success is what the model says of the images returned,
    whatever the library claims.
    """

    seconds: float
    queries: float
    success: float
    median: float


def judge(search: Search, contest: Contest, norm: Norm) -> Outcome:
    """Run a search once and read off what it found."""
    counting = Counting(contest.model).eval()
    start = time.perf_counter()
    found = search(Contest(counting, contest.images, contest.labels, contest.targets)).detach()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        predicted = contest.model(found).argmax(dim=1)
    wanted = contest.targets
    success = predicted != contest.labels if wanted is None else predicted == wanted
    none = torch.zeros_like(contest.labels)
    median = median_distance(contest.images, AttackResult(found, success, none, none), norm)
    queries = counting.images / len(found)
    return Outcome(seconds, queries, success.double().mean().item(), median)


def of_foolbox(attack: Any) -> Search:
    """A Foolbox attack; it returns the clean image, or a failed one, where it finds nothing."""

    def search(given: Contest) -> Tensor:
        wrapped = foolbox.PyTorchModel(given.model, bounds=(0, 1), device=given.images.device)
        return attack(wrapped, given.images, given.labels, epsilons=None)[1]

    return search


def of_torchattacks(build: Callable[[nn.Module], Any]) -> Search:
    """A torchattacks attack, built for the model."""
    return lambda given: build(given.model)(given.images, given.labels)


def of_art(build: Callable[[Any], Any]) -> Search:
    """An attack of the Adversarial Robustness Toolbox, in whole batches, on the CPU."""

    def search(given: Contest) -> Tensor:
        classifier = art_estimators.PyTorchClassifier(
            given.model, nn.CrossEntropyLoss(), given.images.shape[1:], 10, clip_values=(0, 1),
            device_type="cpu",
        )  # fmt: skip
        classes = given.labels if given.targets is None else given.targets
        one_hot = torch.nn.functional.one_hot(classes, 10).numpy()
        return torch.from_numpy(build(classifier).generate(given.images.numpy(), one_hot))

    return search
