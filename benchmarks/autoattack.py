"""AutoAttack's standard ensemble beside pyautoattack: `benchmarks/autoattack.py NETWORK …`.

Each network and norm is stored in data/measured/autoattack.json as soon as both are done, and is
not measured again unless told to. Seconds are those of the processor, on one thread, so that what
else the machine does counts for little. "example" measures more of the ResNet-18 that pyautoattack
carries: what JPEG costs it on clean images, and PGD at small budgets.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from armsrace import attacks, datasets, evaluation, zoo
from armsrace.contracts import Norm
from armsrace.datasets import embedded
from armsrace.ledger.measurements import is_recorded, record
from armsrace.norms import distances

try:
    pyautoattack: Any = import_module("pyautoattack")
except ImportError as error:
    raise SystemExit(f"{error}: the peers are not installed, run `make env`") from error

CONSOLE = Console()
SMALL = [0.0, 0.5 / 255, 1 / 255, 2 / 255]
STUDY, SEED, COPIES = "autoattack", 0, 500


@dataclass(frozen=True)
class Contest:
    """A network, its data, and the budget in each norm."""

    data: str
    epsilons: dict[Norm, float]


CONTESTS = {
    "s3-cnn": Contest("mnist", {"linf": 0.1, "l2": 1.5, "l1": 10.0}),
    "madry-pgd": Contest("mnist", {"linf": 0.3, "l2": 1.5, "l1": 10.0}),
    "pyautoattack": Contest("cifar10", {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}),
}


def network(name: str) -> nn.Module:
    """A network of the zoo, or the ResNet-18 that pyautoattack carries."""
    if name != "pyautoattack":
        return zoo.load(name).eval()
    examples = Path(pyautoattack.__file__).parent / "examples"
    sys.path.insert(0, str(examples))
    try:
        model = import_module("resnet").ResNet18()
    finally:
        sys.path.remove(str(examples))
    weights = torch.load(examples / "model_test.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def ours(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The adversarial images of our ensemble."""
    turns = evaluation.autoattack(epsilon=epsilon, norm=norm, seed=SEED)
    return evaluation.worst_case(model, images, labels, turns).result.images


def theirs(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """The adversarial images of theirs."""
    peer = pyautoattack.AutoAttack(model, norm=norm.capitalize(), eps=epsilon, seed=SEED)
    return peer.run_standard_evaluation(images, labels)[0]


def compare(name: str, norm: Norm, count: int) -> None:
    """Measure both on the same images, and store what was found."""
    contest, model = CONTESTS[name], network(name)
    data = datasets.load(contest.data, "test").take(count)
    epsilon, columns = contest.epsilons[norm], {}
    for side, ensemble in (("ours", ours), ("pyautoattack", theirs)):
        started = time.process_time()
        x_adv = ensemble(model, data.images, data.labels, epsilon, norm)
        seconds = time.process_time() - started
        with torch.no_grad():
            right = model(x_adv).argmax(dim=1) == data.labels
        largest = distances(x_adv - data.images, norm).max().item()
        robust = right.double().mean().item()
        columns[side] = [robust, seconds, largest]
        CONSOLE.print(
            f"{name} {norm} {side}: accuracy {robust:.3f}, {seconds:.1f} s, {largest:.4f}"
        )
    settings = (
        f"{name}, {norm}, epsilon {epsilon:g}; version standard; one thread; columns: robust "
        "accuracy, seconds of the processor, the largest perturbation"
    )
    record(STUDY, f"{name}-{norm}", columns, settings=settings, n=count,
           data=datasets.describe(contest.data))  # fmt: skip


def clean() -> None:
    """The ResNet-18 on Foolbox's 20 test images of CIFAR-10, and on the JPEG copies of the same.

    Image by image, whether it is classified correctly. The copies come in another order; the
    nearest one in the 10,000 must have the same class.
    """
    model, data = network("pyautoattack"), datasets.load("cifar10", "test")
    pixels, classes = (torch.from_numpy(part) for part in embedded.photographs())
    originals, labels = pixels / 255, classes.long()
    apart = torch.cdist(originals.flatten(1), data.images.flatten(1))
    near, places = apart.min(dim=1)
    if not torch.equal(data.labels[places], labels):
        raise SystemExit("each original must have a copy among the test images")
    columns = {"distance": near.tolist()}
    with torch.no_grad():
        for name, images in {"originals": originals, "copies": data.images[places]}.items():
            columns[name] = (model(images).argmax(dim=1) == labels).double().tolist()
    settings = "pyautoattack, clean images: the originals in Foolbox, and the copies of the same"
    record(STUDY, "pyautoattack-clean", columns, settings=settings, n=len(labels),
           data=datasets.describe("cifar10"))  # fmt: skip
    many = data.take(COPIES)
    accuracy = evaluation.accuracy(model, many.images, many.labels)
    record(STUDY, "pyautoattack-copies", {"accuracy": [accuracy]}, n=COPIES,
           settings="pyautoattack, clean JPEG copies", data=data.description)  # fmt: skip
    CONSOLE.print("clean", columns, accuracy)


def small_budgets(count: int) -> None:
    """The ResNet-18 under ten steps of PGD, at budgets far below 8/255."""
    model, data = network("pyautoattack"), datasets.load("cifar10", "test").take(count)
    attack = partial(attacks.pgd, steps=10, generator=torch.Generator().manual_seed(SEED))
    curve = evaluation.robustness_curve(model, attack, data.images, data.labels, SMALL)
    columns = {"epsilon": SMALL, "accuracy": list(curve.accuracies)}
    CONSOLE.print("small budgets", columns)
    record(STUDY, "pyautoattack-pgd", columns, n=count, data=data.description,
           settings="pyautoattack; PGD, 10 steps, random start, L∞")  # fmt: skip


def main() -> None:
    """Measure the networks given, in the norms given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", choices=(*CONTESTS, "example"))
    parser.add_argument("--norms", nargs="+", choices=("linf", "l2", "l1"), default=["linf"])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.networks:
        if name == "example":
            small_budgets(given.images)
            clean()
            continue
        for norm in given.norms:
            if given.again or not is_recorded(STUDY, f"{name}-{norm}"):
                compare(name, norm, given.images)


if __name__ == "__main__":
    main()
