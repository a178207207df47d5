"""Certified accuracy of randomized smoothing and of interval bounds, beside attacks on both.

Smoothing: each digit is certified from 1,000 draws, then attacked within each radius by PGD on the
soft classifier (SmoothAdv), and at its own certified radius; fresh draws judge every image, and an
attack succeeds where they give another class, not where they abstain. Interval bounds: each digit
is certified at ε = .1 and .3, then attacked by PGD and by AutoAttack. The columns of
data/measured/certified.json hold one number for each digit.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch
from rich.console import Console
from torch import Generator, Tensor

from armsrace import attacks, datasets, defenses, evaluation, zoo
from armsrace.defenses.randomized_smoothing import ABSTAIN
from armsrace.ledger.measurements import is_recorded, record

CONSOLE = Console()
STUDY = "certified"
SIGMA, ALPHA, SAMPLES = 0.5, 0.001, 1000
RADII = (0.0, 0.5, 1.0, 1.58)
"""L2; with this σ and so many draws no radius exceeds 1.23, so that 1.58 is out of reach."""
ATTACK_SAMPLES, ATTACK_STEPS, JUDGES = 16, 20, 500


def smoothing(count: int) -> None:
    """Record class, radius and attacks on the smoothed classifier, digit by digit."""
    data = datasets.load("mnist", "test").take(count, Generator().manual_seed(0))
    images, labels = data.images, data.labels
    network = zoo.load("smoothing-cnn")
    model = defenses.RandomizedSmoothing(network, SIGMA, samples=ATTACK_SAMPLES)
    began = time.perf_counter()
    proof = model.certify(images, samples=SAMPLES, alpha=ALPHA)
    seconds = time.perf_counter() - began
    right = proof.classes == labels
    columns = {
        "radius": proof.radii.where(right, -1).tolist(),
        "abstained": (proof.classes == ABSTAIN).double().tolist(),
        "plain network": (network(images).argmax(dim=1) == labels).double().tolist(),
    }
    attack = partial(attacks.pgd, model.soft, steps=ATTACK_STEPS, norm="l2")
    for radius in RADII:
        held = right | (proof.classes == ABSTAIN)
        if radius:
            for part in held.nonzero()[:, 0].split(12):
                found = attack(images[part], labels[part], epsilon=radius).images
                answers = _answers(model, found)
                held[part] = (answers == labels[part]) | (answers == ABSTAIN)
        columns[f"attacked {radius:g}"] = held.double().tolist()
    inside = torch.zeros(count)
    certain = (proof.classes != ABSTAIN).nonzero()[:, 0]
    for part in certain.split(12):
        found = attack(images[part], proof.classes[part], epsilon=proof.radii[part]).images
        answers = _answers(model, found)
        inside[part] = ((answers != proof.classes[part]) & (answers != ABSTAIN)).float()
    columns["changed inside"] = inside.tolist()
    _record(
        "smoothing", columns, data,
        f"smoothing-cnn, σ = {SIGMA:g}, n₀ = 100, n = {SAMPLES:,}, α = {ALPHA:g}; PGD of "
        f"{ATTACK_STEPS} steps on {ATTACK_SAMPLES} draws, judged by {JUDGES}; "
        f"{seconds / count:.2f} s per certificate",
    )  # fmt: skip


def _answers(model: defenses.RandomizedSmoothing, images: Tensor) -> Tensor:
    """PREDICT with draws of its own."""
    return model.predict(images, JUDGES, ALPHA, generator=Generator().manual_seed(9))


def interval(tenths: int, count: int, attacked: int) -> None:
    """Record which digits a network classifies, is proved to, and keeps under attack."""
    data, epsilon = (
        datasets.load("mnist", "test").take(count, Generator().manual_seed(0)),
        tenths / 10,
    )
    images, labels = data.images, data.labels
    model = zoo.load(f"ibp-cnn-{tenths}")
    proved = defenses.certified(model, images, labels, epsilon)
    # In float64, to see whether rounding decides any.
    exact = defenses.certified(
        zoo.load(f"ibp-cnn-{tenths}").double(), images.double(), labels, epsilon
    )  # fmt: skip
    columns = {
        "clean": (model(images).argmax(dim=1) == labels).double().tolist(),
        "certified": exact.double().tolist(),
        "differs by rounding": (proved != exact).double().tolist(),
    }
    found = attacks.pgd(model, images, labels, epsilon=epsilon, steps=100, restarts=2)
    columns["PGD"] = (~found.success).double().tolist()
    worst = evaluation.worst_case(
        model, images[:attacked], labels[:attacked],
        evaluation.autoattack(epsilon=epsilon, steps=50, queries=500),
    )  # fmt: skip
    kept = ~(worst.result.success | found.success[:attacked])
    assert not (exact & found.success).any(), "an attack succeeds on a certified digit"
    assert not (exact[:attacked] & ~kept).any(), "an attack succeeds on a certified digit"
    _record(
        f"interval bounds {tenths}", columns, data,
        f"ibp-cnn-{tenths}, ε = {epsilon:g}; PGD of 100 steps, 2 starts",
    )  # fmt: skip
    _record(
        f"AutoAttack {tenths}", {"kept": kept.double().tolist()}, data.take(attacked),
        f"ibp-cnn-{tenths}, ε = {epsilon:g}; AutoAttack with 50 steps, 500 queries, and PGD of 100 "
        "steps, 2 starts",
    )  # fmt: skip


def _record(
    name: str, columns: dict[str, list[float]], data: datasets.Dataset, settings: str
) -> None:
    n = len(next(iter(columns.values())))
    record(STUDY, name, columns, settings=settings, n=n, data=data.description)
    for key, values in columns.items():
        CONSOLE.print(name, key, evaluation.with_interval(sum(v > 0 for v in values) / n, n))


def main() -> None:
    """Record what is not recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--smoothed", type=int, default=200, help="digits of smoothing")
    parser.add_argument("--boxed", type=int, default=1000, help="digits of interval bounds")
    parser.add_argument("--attacked", type=int, default=200, help="of these, by AutoAttack")
    given = parser.parse_args()
    jobs = {"smoothing": partial(smoothing, given.smoothed)} | {
        f"interval bounds {tenths}": partial(interval, tenths, given.boxed, given.attacked)
        for tenths in (1, 3)
    }
    for name, job in jobs.items():
        if given.only in name and (given.again or not is_recorded(STUDY, name)):
            job()


if __name__ == "__main__":
    main()
