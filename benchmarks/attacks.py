"""Time our attacks against a bare loop of forward and input gradient, Foolbox and torchattacks.

All run in the same process on the same images, interleaved round by round, and seconds are those of
the processor, so that whatever else the machine does counts for little. A ratio is taken within
each round, and the median is printed. Ours ends with one forward pass more than the others: success
is read off the images returned.

With --keep the ratios to the bare loop are kept by commit in benchmarks/history.json. The run
then fails where one has grown by more than a quarter since the last kept commit.
That ratio depends little on the machine, so it shows an attack that has become slower. `make bench`
runs this last, so that a failure does not keep the other benchmarks from running.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
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
from armsrace.publishing.execution import processor_name
from armsrace.resources import CLONE, code_version, replacing

try:
    foolbox: Any = import_module("foolbox")
    torchattacks: Any = import_module("torchattacks")
except ImportError as error:
    raise SystemExit(f"{error}: the peers are not installed, run `make env`") from error

Run = Callable[[], object]
NETWORKS = ("s3-cnn", "carlini-wagner")
EPSILON, TARGET = 0.3, 1.15  # PGD's target is a ratio to the bare loop
KEPT = CLONE / "benchmarks" / "history.json"
SLOWER = 1.25
CONSOLE = Console()


@dataclass(frozen=True)
class Contest:
    """One attack and what it is timed against, each a function without arguments."""

    name: str
    ours: Run
    bare: Run
    foolbox: Run
    torchattacks: Run | None = None


def bare_loop(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> None:
    """What no gradient attack can do without: `steps` forward passes and input gradients."""
    for _ in range(steps):
        images = images.detach().requires_grad_()
        loss = functional.cross_entropy(model(images), labels, reduction="sum")
        torch.autograd.grad(loss, images)


def contests(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> list[Contest]:
    """Five attacks, each with the same steps for everyone and without a random start.

    Carlini and Wagner's with one constant; no peer's drops images that are finished, nor does ours.
    """
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
            "momentum-10", lambda: attacks.mi_fgsm(*given, epsilon=EPSILON),
            lambda: bare_loop(*given, 10), peer(moving), lambda: momentum(images, labels),
        ),
        Contest(
            f"DDN-{steps}", lambda: attacks.ddn(*given, steps=steps),
            lambda: bare_loop(*given, steps),
            lambda: foolbox.attacks.DDNAttack(steps=steps)(wrapped, images, labels, epsilons=None),
        ),
        Contest(
            f"Carlini–Wagner L2-{steps}",
            lambda: attacks.carlini_wagner_l2(
                *given, steps=steps, binary_search_steps=1, initial_constant=1.0,
                abort_early=False,
            ),
            lambda: bare_loop(*given, steps),
            lambda: foolbox.attacks.L2CarliniWagnerAttack(
                binary_search_steps=1, steps=steps, initial_const=1.0, abort_early=False
            )(wrapped, images, labels, epsilons=None),
            lambda: torchattacks.CW(model, c=1.0, steps=steps, lr=0.01)(images, labels),
        ),
    ]  # fmt: skip


def seconds(run: Run, device: torch.device) -> float:
    """The time of one run: of the processor, or by the clock on a GPU whose queue is drained."""
    if device.type != "cuda":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(contest: Contest, rounds: int, device: torch.device) -> dict[str, float]:
    """Our median time in seconds, and its median ratio to each of the others', after a warm-up."""
    runs = {field.name: getattr(contest, field.name) for field in fields(contest)[1:]}
    runs = {name: run for name, run in runs.items() if run is not None}
    times = [{name: seconds(run, device) for name, run in runs.items()} for _ in range(rounds + 1)]
    times.pop(0)
    ratios = {name: median(row["ours"] / row[name] for row in times) for name in runs}
    return ratios | {"seconds": median(row["ours"] for row in times)}


def keep(ratios: dict[str, float]) -> list[str]:
    """Keep the ratios to the bare loop by commit; which have grown since the last kept commit."""
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else []
    before = kept[-1]["ratios"] if kept else {}
    row = {
        "commit": code_version(), "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": processor_name(), "ratios": {k: round(v, 3) for k, v in ratios.items()},
    }  # fmt: skip
    with replacing(KEPT) as temporary:
        temporary.write_text(json.dumps([*kept, row], indent=1, ensure_ascii=False) + "\n")
    return [
        f"{name} takes {ratio:.2f} of the bare loop, {before[name]:.2f} at the last kept commit"
        for name, ratio in ratios.items()
        if name in before and ratio > SLOWER * before[name]
    ]


def main() -> None:
    """Print one row for each network and attack; exit 1 where PGD misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--keep", action="store_true", help="keep the ratios by commit")
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
    slow, ratios = [], {}
    for name in chosen.network or NETWORKS:
        model = zoo.load(name, device)
        todo = contests(model, images, labels, chosen.steps)
        for contest in track(todo, f"timing {name}", console=CONSOLE, transient=True):
            found = measure(contest, chosen.rounds, device)
            ratios[f"{contest.name}, {name}"] = found["bare"]
            row = [found.get(key) for key in ("seconds", "bare", "foolbox", "torchattacks")]
            cells = ("—" if value is None else f"{value:.3f}" for value in row)
            table.add_row(name, contest.name, *cells)
            if contest.name.startswith("PGD") and found["bare"] > TARGET:
                slow.append(
                    f"PGD on {name} takes {found['bare']:.2f} of the bare loop, more than {TARGET}"
                )
    CONSOLE.print(table)
    if chosen.keep:
        slow += keep(ratios)
    if slow:
        raise SystemExit("; ".join(slow))


if __name__ == "__main__":
    main()
