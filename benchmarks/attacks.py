"""Time our attacks against a bare loop of forward and input gradient, Foolbox and torchattacks.

All run in the same process on the same images, interleaved round by round, so that whatever else
the machine does hits them alike; a ratio is taken within each round, and the median is printed.
Ours ends with one forward pass more than the others: success is read off the images returned.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks, datasets, zoo

try:
    foolbox: Any = import_module("foolbox")
    torchattacks: Any = import_module("torchattacks")
except ImportError as error:
    raise SystemExit(f"{error}: the peers are not installed, run `make env`") from error

Run = Callable[[], object]
NETWORKS = ("s3-cnn", "carlini-wagner")
EPSILON, TARGET = 0.3, 1.15  # PGD's target is a ratio to the bare loop
CONSOLE = Console()


@dataclass(frozen=True)
class Contest:
    """One attack and what it is timed against, each a function without arguments."""

    name: str
    ours: Run
    bare: Run
    foolbox: Run
    torchattacks: Run


def bare_loop(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
    """What no gradient attack can do without: `steps` forward passes and input gradients."""
    for _ in range(steps):
        images = images.detach().requires_grad_()
        loss = functional.cross_entropy(model(images), labels, reduction="sum")
        torch.autograd.grad(loss, images)


def contests(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> list[Contest]:
    """FGSM, PGD without a random start, and momentum, each with the same steps for everyone."""
    given = model, images, labels
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    size = 2.5 * EPSILON / steps

    def peer(attack: Any) -> Run:
        return lambda: attack(wrapped, images, labels, epsilons=EPSILON)

    still: dict[str, Any] = {"steps": steps, "random_start": False}
    fgsm = torchattacks.FGSM(model, eps=EPSILON)
    pgd = torchattacks.PGD(model, eps=EPSILON, alpha=size, **still)
    momentum = torchattacks.MIFGSM(model, eps=EPSILON, alpha=EPSILON / 10, steps=10)
    moving = foolbox.attacks.LinfMomentumIterativeFastGradientMethod(
        abs_stepsize=EPSILON / 10, steps=10
    )
    return [
        Contest(
            "FGSM", lambda: attacks.fgsm(*given, epsilon=EPSILON), lambda: bare_loop(*given, 1),
            peer(foolbox.attacks.FGSM()), lambda: fgsm(images, labels),
        ),
        Contest(
            f"PGD-{steps}",
            lambda: attacks.pgd(*given, epsilon=EPSILON, steps=steps, random_start=False),
            lambda: bare_loop(*given, steps),
            peer(foolbox.attacks.LinfPGD(abs_stepsize=size, **still)),
            lambda: pgd(images, labels),
        ),
        Contest(
            "momentum-10", lambda: attacks.momentum(*given, epsilon=EPSILON),
            lambda: bare_loop(*given, 10), peer(moving), lambda: momentum(images, labels),
        ),
    ]  # fmt: skip


def seconds(run: Run, device: torch.device) -> float:
    """Wall-clock time of one run, the device's queue drained before and after."""
    drain = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    drain()
    start = time.perf_counter()
    run()
    drain()
    return time.perf_counter() - start


def measure(contest: Contest, rounds: int, device: torch.device) -> dict[str, float]:
    """Our median time in seconds, and its median ratio to each of the others', after a warm-up."""
    runs = {field.name: getattr(contest, field.name) for field in fields(contest)[1:]}
    times = [{name: seconds(run, device) for name, run in runs.items()} for _ in range(rounds + 1)]
    times.pop(0)
    ratios = {name: median(row["ours"] / row[name] for row in times) for name in runs}
    return ratios | {"seconds": median(row["ours"] for row in times)}


def main() -> None:
    """Print one row for each network and attack; exit 1 where PGD misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--device", type=torch.device, default="cpu")
    chosen = parser.parse_args()
    device = chosen.device
    digits = datasets.load("mnist", "test")
    labels = digits.labels[: chosen.batch].to(device)
    # Convolutions choose their kernel by the strides: give all data sets the usual ones.
    images = torch.empty(digits.images[: chosen.batch].shape, device=device)
    images.copy_(digits.images[: chosen.batch])
    table = Table(
        title=f"Our seconds and their ratio to the others': {device}, batch {len(images)}"
    )
    for heading in ("network", "attack", "ours, s", "bare loop", "Foolbox", "torchattacks"):
        table.add_column(heading)
    slow = []
    for name in chosen.network or NETWORKS:
        model = zoo.load(name, device)
        todo = contests(model, images, labels, chosen.steps)
        for contest in track(todo, f"timing {name}", console=CONSOLE, transient=True):
            found = measure(contest, chosen.rounds, device)
            row = [found[key] for key in ("seconds", "bare", "foolbox", "torchattacks")]
            table.add_row(name, contest.name, *(f"{value:.3f}" for value in row))
            if contest.name.startswith("PGD") and found["bare"] > TARGET:
                slow.append(f"PGD on {name} takes {found['bare']:.2f} of the bare loop")
    CONSOLE.print(table)
    if slow:
        raise SystemExit(f"{'; '.join(slow)}: more than {TARGET}")


if __name__ == "__main__":
    main()
