"""Compare the attacks that search with Foolbox, torchattacks and ART: distance, cost and time.

The S3 network, the first correctly classified test digits, everyone one after the other in one
process and on the same threads. What was found is judged by the network, not by the library. The
result goes to data/measured/benchmark.json, one contest at a time, and from there onto the site
(`book/benchmark.md`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from peers import Contest, Search, art, foolbox, judge, of_art, of_foolbox, of_torchattacks
from peers import torchattacks as torchattacks_library
from rich.console import Console

from armsrace import attacks, datasets, zoo
from armsrace.contracts import AttackResult, Norm
from armsrace.figures.tables import RACE
from armsrace.ledger.measurements import record

CONSOLE = Console()
EPSILON = 0.1


@dataclass(frozen=True)
class Race:
    """One attack with its norm, and the peers that run it with the same settings."""

    norm: Norm
    ours: Search
    peers: dict[str, Search]
    targeted: bool = False


def own(attack: Callable[..., AttackResult], **settings: Any) -> Search:
    """One of our attacks as a search."""

    def search(given: Contest) -> torch.Tensor:
        targets = {} if given.targets is None else {"targets": given.targets}
        return attack(given.model, given.images, given.labels, **targets, **settings).images

    return search


def races() -> dict[str, Race]:
    """Every race by name; the settings are those of the papers or of the peers' defaults."""
    of, ta = foolbox.attacks, torchattacks_library
    carlini: dict[str, Any] = {"binary_search_steps": 9, "steps": 1000}
    saliency = partial(art.SaliencyMapMethod, theta=1.0, gamma=0.145, batch_size=128, verbose=False)
    # ART's asks three times an iteration: equal queries are a third of the iterations.
    square = partial(art.SquareAttack, eps=EPSILON, max_iter=333, batch_size=128, verbose=False)
    return {
        "Carlini–Wagner L2, 9 × 1,000": Race(
            "l2", own(attacks.carlini_wagner_l2, **carlini),
            {"Foolbox": of_foolbox(of.L2CarliniWagnerAttack(**carlini))},
        ),
        "DeepFool L2": Race(
            "l2", own(attacks.deepfool),
            {
                "Foolbox": of_foolbox(of.L2DeepFoolAttack()),
                "torchattacks": of_torchattacks(ta.DeepFool),
            },
        ),
        "DDN, 100 steps": Race("l2", own(attacks.ddn), {"Foolbox": of_foolbox(of.DDNAttack())}),
        "JSMA, Υ = 14.5 %": Race("l0", own(attacks.jsma), {"ART": of_art(saliency)}, targeted=True),
        "boundary, 5,000 steps": Race(
            "l2", own(attacks.boundary, steps=5000),
            {
                "armsrace, 2,250 steps": own(attacks.boundary, steps=2250),
                "Foolbox": of_foolbox(of.BoundaryAttack(steps=5000)),
            },
        ),
        "pointwise L0, at equal queries": Race(
            "l0", own(attacks.pointwise, restarts=8),
            {
                "armsrace, three starts": own(attacks.pointwise, restarts=3),
                "Foolbox": of_foolbox(of.PointwiseAttack(l2_binary_search=False)),
            },
        ),
        f"square L∞, ε = {EPSILON}, 1,000 queries": Race(
            "linf", own(attacks.square, epsilon=EPSILON, queries=1000),
            {
                "armsrace, 300 queries": own(attacks.square, epsilon=EPSILON, queries=300),
                "ART": of_art(square),
            },
        ),
    }  # fmt: skip


def contest(count: int, targeted: bool) -> Contest:
    """The first `count` test digits that the S3 network gets right; each target is the next class.

    Images have the usual strides: convolutions choose their kernel by them.
    """
    model, digits = zoo.load("s3-cnn"), datasets.load("mnist", "test")
    with torch.no_grad():
        right = model(digits.images[: 2 * count]).argmax(dim=1) == digits.labels[: 2 * count]
    kept = right.nonzero()[:count, 0]
    images, labels = digits.images[kept].clone(), digits.labels[kept]
    return Contest(model, images, labels, (labels + 1) % 10 if targeted else None)


def main() -> None:
    """Run the races asked for and store their rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--race", action="append", choices=list(races()), help="default: all")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    threads = "one thread" if chosen.threads == 1 else f"{chosen.threads} threads"
    for name, race in races().items():
        if chosen.race and name not in chosen.race:
            continue
        given = contest(chosen.images, race.targeted)
        runs = {"armsrace": race.ours, **race.peers}
        found = {library: asdict(judge(run, given, race.norm)) for library, run in runs.items()}
        record(
            "benchmark", f"{race.norm}, {name}",
            {library: [outcome[key] for key in RACE] for library, outcome in found.items()},
            settings=f"s3-cnn; {threads}; columns: success, median distance, queries per image, "
            "seconds",
            n=len(given.images), data=datasets.describe("mnist"),
        )  # fmt: skip
        CONSOLE.print(name, found)


if __name__ == "__main__":
    main()
