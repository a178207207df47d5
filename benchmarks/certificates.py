"""Prove radii around official test digits, check the proofs, and attack every certified digit.

"l2" and "linf" store in data/measured/certificates.json, digit by digit, whether the class is
right, the proved radius, whether the exact checker accepts the file, and the pieces held; DDN,
minimum_norm, Carlini–Wagner and cutting planes, which use its structure, the distance of the
nearest adversarial image that they find, in L2 (1e9: none).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from cutting_planes import cutting_planes
from rich.console import Console

from armsrace import attacks, datasets, evaluation, zoo
from armsrace.contracts import AttackResult
from armsrace.defenses.analysis_by_synthesis import check_certificate
from armsrace.ledger.measurements import record, recorded
from armsrace.models.linear_synthesis import LinearSynthesis

CONSOLE = Console()
STUDY, NETWORK = "certificates", "linear-synthesis"
AT_ONCE = 100
ATTACKS: dict[str, Callable[..., AttackResult]] = {
    "ddn": attacks.ddn,
    "minimum-norm": attacks.minimum_norm,
    "carlini-wagner": attacks.carlini_wagner_l2,
    "cutting-planes": cutting_planes,
}


def certify(norm: str, count: int) -> None:
    """Prove and check a radius for each of the first digits; record both."""
    model, data = zoo.load(NETWORK), datasets.load("mnist").take(count)
    columns: dict[str, list[float]] = {"right": [], "radius": [], "holds": [], "held": []}
    seconds = checking = 0.0
    for start in range(0, count, AT_ONCE):
        images, labels = (part[start : start + AT_ONCE] for part in (data.images, data.labels))
        began = time.process_time()
        proved = evaluation.certify(model, images, norm=norm)  # type: ignore[arg-type]
        seconds += time.process_time() - began
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "certificates.npz"
            proved.save(path, zoo.weights(NETWORK))
            program = [sys.executable, "-I", check_certificate.__file__, zoo.weights(NETWORK), path]
            done = subprocess.run([str(part) for part in program], capture_output=True, text=True)
        checking += time.perf_counter() - began
        right = proved.labels == labels
        columns["right"] += right.double().tolist()
        columns["radius"] += proved.radii.tolist()
        columns["holds"] += [float(done.returncode == 0)] * len(labels)
        columns["held"] += (proved.duals > 0).sum(2).amax(1).double().tolist()
        CONSOLE.print(f"{start + len(labels)}: {done.stdout.strip()} {done.stderr.strip()}")
    columns["seconds"] = [seconds / count]
    columns["checking"] = [checking / count]
    record(STUDY, norm, columns, settings=f"{NETWORK}; {norm}", n=count, data=data.source)


def attack(name: str, count: int) -> None:
    """Record the distance of the nearest adversarial image of each digit by one attack (L2)."""
    model, data = zoo.load(NETWORK), datasets.load("mnist").take(count)
    assert isinstance(model, LinearSynthesis)
    options: dict[str, dict[str, Any]] = {
        "minimum-norm": {"norm": "l2"},
        "cutting-planes": {"explanations": model.explain},
    }
    distances: list[float] = []
    for start in range(0, count, AT_ONCE):
        images, labels = (part[start : start + AT_ONCE] for part in (data.images, data.labels))
        found = ATTACKS[name](model, images, labels, **options.get(name, {}))
        distances += evaluation.perturbation_sizes(images, found, "l2").tolist()
    radii = torch.tensor(recorded(STUDY)["l2"].columns["radius"][:count])
    inside = sum(d < float(r) for d, r in zip(distances, radii, strict=True) if d > 0)
    CONSOLE.print(f"{name}: {inside} of {count} inside their radius")
    finite = [min(value, 1e9) for value in distances]
    record(
        STUDY, name, {"distance": finite, "inside": [float(inside)]},
        settings=f"{NETWORK}; {name}, defaults", n=count, data=data.source,
    )  # fmt: skip


def main() -> None:
    """Record what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=["l2", "linf", *ATTACKS])
    parser.add_argument("--digits", type=int, default=1000)
    chosen = parser.parse_args()
    for name in chosen.names:
        (attack if name in ATTACKS else certify)(name, chosen.digits)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
