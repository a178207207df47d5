"""Minimal-norm attacks beside the peers', by the protocol of AttackBench.

`python benchmarks/attackbench.py NETWORK … --norms l2 linf`. An attack may ask each image 2,000
times, forward and backward passes together, and the nearest adversarial image that it asked about
counts, whatever it returns (Cinà et al. 2025). Every result is stored as soon as it is there, in
data/measured/attackbench.json, and is not measured again unless told to, with --again; --only names
the attacks to measure. Seconds are those of the processor, on one thread, without the book-keeping,
so that what else the machine does counts for little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import autoattack
import torch
from adversarial_library import attacks as adv_lib
from peers import foolbox
from rich.console import Console
from torch import Tensor, nn

from armsrace import attacks, datasets, evaluation
from armsrace.contracts import Norm
from armsrace.ledger.measurements import is_recorded, record
from armsrace.norms import distances

CONSOLE = Console()
STUDY, PASSES = "attackbench", 2_000
STEPS = PASSES // 2
DATA = {"cifar-resnet": "cifar10", "pyautoattack": "cifar10"}
ORDER: dict[Norm, float] = {"l0": 0, "l1": 1, "l2": 2, "linf": torch.inf}

Attack = Callable[[nn.Module, Tensor, Tensor], object]


class Watched(nn.Module):
    """A model that notes, image by image, the nearest adversarial image it is asked about.

    A question belongs to the clean image nearest to it in L2. Whatever that is, what is found is an
    adversarial image at that distance, so a wrong guess does no harm.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, norm: Norm) -> None:
        super().__init__()
        self.model, self.clean, self.labels, self.norm = model, images, labels, norm
        self.nearest = torch.full((len(images),), torch.inf)
        self.passes = torch.zeros(len(images))
        self.seconds = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """Logits (M, K) of images (M, C, H, W)."""
        logits = self.model(images)
        started = time.process_time()
        with torch.no_grad():
            asked = images.detach()
            owners = torch.cdist(asked.flatten(1), self.clean.flatten(1)).argmin(dim=1)
            self.count(owners)
            wrong = logits.argmax(dim=1) != self.labels[owners]
            wrong &= self.passes[owners] <= PASSES
            found = distances(asked - self.clean[owners], self.norm)
            found = torch.where(wrong, found, torch.inf)
            self.nearest = self.nearest.scatter_reduce(0, owners, found, "amin")
        if logits.requires_grad:
            logits.register_hook(partial(self.count, owners))
        self.seconds += time.process_time() - started
        return logits

    def count(self, owners: Tensor, _: Tensor | None = None) -> None:
        """One pass for each image that owns a row (M,); also the hook of a backward pass."""
        self.passes.index_add_(0, owners, torch.ones(len(owners)))


def ours(attack: Callable[..., Any], **settings: Any) -> Attack:
    """One of our attacks."""
    return lambda model, x, y: attack(model, x, y, **settings)


def bisected(norm: Norm, most: float) -> Attack:
    """The smallest budget at which APGD succeeds: ten times 100 steps."""
    budgets = [most * k / 1024 for k in range(1, 1025)]
    attack = partial(attacks.auto_pgd, norm=norm, steps=95)
    return lambda m, x, y: evaluation.smallest_epsilon(attack, m, x, y, budgets, bisect=True)


def of_foolbox(attack: Any) -> Attack:
    """A Foolbox attack."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> object:
        return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilons=None)

    return run


def contestants(norm: Norm) -> dict[str, Attack]:
    """The attacks in one norm; the peers' take as many steps as 2,000 passes allow."""
    fmn = {"adv-lib FMN": lambda m, x, y: adv_lib.fmn(m, x, y, norm=ORDER[norm], steps=STEPS)}
    pdpgd = {
        "adv-lib PDPGD": lambda m, x, y: adv_lib.pdpgd(m, x, y, norm=ORDER[norm], num_steps=STEPS)
    }
    alma = {"adv-lib ALMA": lambda m, x, y: adv_lib.alma(m, x, y, distance=norm, num_steps=STEPS)}
    own = {
        "armsrace minimum norm": ours(attacks.minimum_norm, norm=norm),
        "armsrace FMN": ours(attacks.fmn, norm=norm, steps=STEPS),
    }
    of = foolbox.attacks
    return {
        "linf": own
        | {
            "armsrace FAB": ours(attacks.fab, norm="linf", target_classes=3, steps=200),
            "armsrace DeepFool": ours(attacks.deepfool, norm="linf"),
            "armsrace APGD, bisected": bisected("linf", 0.5),
        }
        | fmn
        | pdpgd,
        "l2": own
        | {
            "armsrace DDN": ours(attacks.ddn, steps=STEPS),
            "armsrace ALMA": ours(attacks.alma, norm="l2", steps=STEPS),
            "armsrace SuperDeepFool": ours(attacks.superdeepfool),
            "armsrace DeepFool": ours(attacks.deepfool),
        }
        | {
            "adv-lib DDN": lambda m, x, y: adv_lib.ddn(m, x, y, steps=STEPS),
            "adv-lib SuperDeepFool": lambda m, x, y: adv_lib.sdf(m, x, y),
            "Foolbox DDN": of_foolbox(of.DDNAttack(steps=STEPS)),
        }
        | alma
        | fmn,
        "l1": own
        | {
            "armsrace ALMA": ours(attacks.alma, norm="l1", steps=STEPS),
            "armsrace EAD": ours(attacks.ead, steps=110),
        }
        | alma
        | fmn
        | pdpgd,
        "l0": own
        | {
            "armsrace σ-zero": ours(attacks.sigma_zero, steps=STEPS),
            "armsrace JSMA": ours(attacks.jsma),
        }
        | {
            "adv-lib σ-zero": lambda m, x, y: adv_lib.sigma_zero(m, x, y, num_steps=STEPS),
            "adv-lib VFGA": lambda m, x, y: adv_lib.vfga(m, x, y, targeted=False),
        }
        | fmn,
    }[norm]


def measure(network: str, norm: Norm, count: int, again: bool, only: list[str] | None) -> None:
    """The attacks on the first images that the network gets right, stored one by one."""
    model = autoattack.network(network).requires_grad_(False)
    data = DATA.get(network, "mnist")
    pool = datasets.load(data, "test").take(3 * count)
    with torch.no_grad():
        right = (model(pool.images).argmax(dim=1) == pool.labels).nonzero()[:count, 0]
    images, labels = pool.images[right].clone(), pool.labels[right]
    for name, attack in contestants(norm).items():
        key = f"{network}, {norm}, {name}"
        if (only and name not in only) or (not again and is_recorded(STUDY, key)):
            continue
        watched = Watched(model, images, labels, norm).eval()
        torch.manual_seed(0)
        started = time.process_time()
        attack(watched, images, labels)
        seconds = time.process_time() - started - watched.seconds
        # A failure is stored as −1: JSON has no infinity.
        found = torch.where(watched.nearest.isfinite(), watched.nearest, -1.0)
        columns = {
            "distances": [float(f"{size:.6g}") for size in found.tolist()],
            "seconds": [round(seconds, 2)],
            "passes": [watched.passes.mean().item()],
        }
        settings = f"at most {PASSES:,} passes an image; one thread, seconds of the processor"
        record(STUDY, key, columns, settings=settings, n=len(images), data=datasets.describe(data))
        CONSOLE.print(
            f"{key}: mean {watched.nearest.mean():.4f}, success "
            f"{watched.nearest.isfinite().float().mean():.2f}, {seconds:.1f} s, "
            f"{watched.passes.mean():.0f} passes"
        )


def main() -> None:
    """Measure the networks given, in the norms given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--norms", nargs="+", choices=list(ORDER), default=list(ORDER))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--only", nargs="+", metavar="ATTACK", help="by its name in the table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for network in given.networks:
        for norm in given.norms:
            measure(network, norm, given.images, given.again, given.only)


if __name__ == "__main__":
    main()
