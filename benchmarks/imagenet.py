"""Every attack on two photographs with a thousand classes, beside the quickest peers.

`python benchmarks/imagenet.py [RACE …]` runs each contestant in a process of its own and records
its peak memory, the seconds of its processor, and what it found, in data/measured/imagenet.json.
What is there already is not measured again, unless told to. The network is EfficientNet-Lite0, in
which a forward and a backward pass on both photographs take a fifth of a second. All contestants of
a race have the same settings; seconds are those of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from counting import Counting
from rich.console import Console
from torch import Tensor, nn

from armsrace import attacks, datasets, zoo
from armsrace.contracts import Norm
from armsrace.ledger.measurements import is_recorded, record
from armsrace.norms import distances

CONSOLE = Console()
STUDY, NETWORK, DATA, COUNT = "imagenet", "efficientnet-lite0", "imagenet-samples", 2
EPSILON = 4 / 255
LIBRARIES = {
    "Foolbox": ("foolbox",),
    "torchattacks": ("torchattacks",),
    "adv-lib": ("adversarial_library",),
    "ART": ("art.attacks.evasion", "art.estimators.classification"),
}
"""What a contestant imports, before its time is taken."""

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Race:
    """The norm in which distances are printed, the settings in words, and who takes part."""

    norm: Norm
    settings: str
    contestants: dict[str, Attack]


def ours(attack: Callable[..., Any], **settings: Any) -> Attack:
    """One of our attacks."""
    return lambda model, x, y: attack(model, x, y, **settings).images


def of_foolbox(name: str, epsilon: float | None = None, **settings: Any) -> Attack:
    """A Foolbox attack, by its name, as their modules take long to import."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        foolbox = import_module("foolbox")
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(**settings)
        return attack(wrapped, x, y, epsilons=epsilon)[1]

    return run


def of_torchattacks(name: str, least_likely: bool = False, **settings: Any) -> Attack:
    """A torchattacks attack."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        attack = getattr(import_module("torchattacks"), name)(model, **settings)
        if least_likely:
            attack.set_mode_targeted_least_likely(quiet=True)
        return attack(x, y)

    return run


def of_adv_lib(name: str, **settings: Any) -> Attack:
    """An adv-lib attack."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return getattr(import_module("adversarial_library").attacks, name)(model, x, y, **settings)

    return run


def of_art(name: str, **settings: Any) -> Attack:
    """An attack of the Adversarial Robustness Toolbox."""

    def run(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        estimators = import_module("art.estimators.classification")
        classifier = estimators.PyTorchClassifier(
            model, nn.CrossEntropyLoss(), x.shape[1:], 1000, clip_values=(0, 1), device_type="cpu"
        )
        attack = getattr(import_module("art.attacks.evasion"), name)(
            classifier, verbose=False, **settings
        )
        one_hot = nn.functional.one_hot(y, 1000).numpy()
        return torch.from_numpy(attack.generate(x.numpy(), one_hot))

    return run


def _substitute(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The black box copied by a small network, from 40 mirrored and shifted photographs."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(128, 1000),
        )  # fmt: skip

    seeds = datasets.load(DATA).images[COUNT:]
    return attacks.substitute(
        model, x, y, seeds=seeds, build=build, rounds=2, epochs=5,
        attack=lambda *given, **more: attacks.fgsm(*given, epsilon=EPSILON, **more),
    ).images  # fmt: skip


def _transfer(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """From the network to itself: what the attack itself takes."""
    return attacks.transfer(
        model, x, y, source=model,
        attack=lambda *given, **more: attacks.fgsm(*given, epsilon=EPSILON, **more),
    ).images  # fmt: skip


def carlini_wagner_l2(abort_early: bool) -> dict[str, Attack]:
    """Carlini and Wagner's attack in L2, with and without an early stop."""
    return {
        "armsrace": ours(
            attacks.carlini_wagner_l2,
            binary_search_steps=3, steps=30, initial_constant=1.0, abort_early=abort_early,
        ),
        "Foolbox": of_foolbox(
            "L2CarliniWagnerAttack",
            binary_search_steps=3, steps=30, initial_const=1.0, abort_early=abort_early,
        ),
        "adv-lib": of_adv_lib(
            "carlini_wagner_l2",
            binary_search_steps=3, max_iterations=30, initial_const=1.0, abort_early=abort_early,
        ),
    }  # fmt: skip


SIGNED: dict[str, Any] = {"eps": EPSILON, "alpha": EPSILON / 4, "steps": 10}
RACES: dict[str, Race] = {
    "fgsm": Race(
        "linf",
        "ε = 4/255",
        {
            "armsrace": ours(attacks.fgsm, epsilon=EPSILON),
            "Foolbox": of_foolbox("LinfFastGradientAttack", EPSILON),
            "torchattacks": of_torchattacks("FGSM", eps=EPSILON),
        },
    ),
    "rand_fgsm": Race(
        "linf",
        "ε = 4/255, α = ε / 2",
        {
            "armsrace": ours(attacks.rand_fgsm, epsilon=EPSILON),
            "torchattacks": of_torchattacks("RFGSM", eps=EPSILON, alpha=EPSILON / 2, steps=1),
        },
    ),
    "bim": Race(
        "linf",
        "ε = 4/255, 10 steps of ε / 4",
        {
            "armsrace": ours(attacks.bim, epsilon=EPSILON, steps=10, step_size=EPSILON / 4),
            "Foolbox": of_foolbox(
                "LinfBasicIterativeAttack", EPSILON, steps=10, abs_stepsize=EPSILON / 4
            ),
            "torchattacks": of_torchattacks("BIM", **SIGNED),
        },
    ),
    "least_likely": Race(
        "linf",
        "ε = 4/255, 10 steps of ε / 4",
        {
            "armsrace": ours(
                attacks.least_likely, epsilon=EPSILON, steps=10, step_size=EPSILON / 4
            ),
            "torchattacks": of_torchattacks("BIM", least_likely=True, **SIGNED),
        },
    ),
    "pgd": Race(
        "linf",
        "ε = 4/255, 10 steps of ε / 4",
        {
            "armsrace": ours(attacks.pgd, epsilon=EPSILON, steps=10, step_size=EPSILON / 4),
            "Foolbox": of_foolbox("LinfPGD", EPSILON, steps=10, abs_stepsize=EPSILON / 4),
            "torchattacks": of_torchattacks("PGD", **SIGNED),
        },
    ),
    "mi_fgsm": Race(
        "linf",
        "ε = 4/255, 10 steps",
        {
            "armsrace": ours(attacks.mi_fgsm, epsilon=EPSILON, steps=10, step_size=EPSILON / 4),
            "Foolbox": of_foolbox("MIFGSM", EPSILON, steps=10, abs_stepsize=EPSILON / 4),
            "torchattacks": of_torchattacks("MIFGSM", **SIGNED),
        },
    ),
    "auto_pgd": Race(
        "linf",
        "ε = 4/255, 20 steps, cross-entropy",
        {
            "armsrace": ours(attacks.auto_pgd, epsilon=EPSILON, steps=20),
            "torchattacks": of_torchattacks("APGD", eps=EPSILON, steps=20),
            "adv-lib": of_adv_lib(
                "apgd", eps=EPSILON, norm=torch.inf, n_iter=20, loss_function="ce"
            ),
        },
    ),
    "deepfool": Race(
        "l2",
        "10 candidates, 50 steps",
        {
            "armsrace": ours(attacks.deepfool),
            "Foolbox": of_foolbox("L2DeepFoolAttack"),
        },
    ),
    "superdeepfool": Race(
        "l2",
        "(∞, 1), 10 halvings",
        {
            "armsrace": ours(attacks.superdeepfool, n=1),
            "adv-lib": of_adv_lib("sdf"),
        },
    ),
    "fab": Race(
        "linf",
        "9 targets, 10 steps each",
        {
            "armsrace": ours(attacks.fab, target_classes=9, steps=10),
            "adv-lib": of_adv_lib(
                "fab", norm=torch.inf, n_iter=10, restarts=9, targeted_restarts=True
            ),
        },
    ),
    "fab, 10 candidates": Race(
        "linf",
        "5 steps; the peer linearizes all 1,000 classes",
        {
            "armsrace": ours(attacks.fab, steps=5),
            "torchattacks": of_torchattacks("FAB", eps=1.0, steps=5),
        },
    ),
    "ddn": Race(
        "l2",
        "50 steps",
        {
            "armsrace": ours(attacks.ddn, steps=50),
            "Foolbox": of_foolbox("DDNAttack", steps=50),
            "adv-lib": of_adv_lib("ddn", steps=50, levels=None),
        },
    ),
    "fmn": Race(
        "linf",
        "50 steps",
        {
            "armsrace": ours(attacks.fmn, norm="linf", steps=50),
            "Foolbox": of_foolbox("LInfFMNAttack", steps=50),
            "adv-lib": of_adv_lib("fmn", norm=torch.inf, steps=50),
        },
    ),
    "alma": Race(
        "l2",
        "50 steps",
        {
            "armsrace": ours(attacks.alma, steps=50),
            "adv-lib": of_adv_lib("alma", num_steps=50),
        },
    ),
    "sigma_zero": Race(
        "l0",
        "100 steps",
        {
            "armsrace": ours(attacks.sigma_zero, steps=100),
            "adv-lib": of_adv_lib("sigma_zero", num_steps=100),
        },
    ),
    "minimum_norm": Race("l2", "our own; defaults", {"armsrace": ours(attacks.minimum_norm)}),
    "brendel_bethge": Race(
        "l2",
        "20 steps",
        {
            "armsrace": ours(attacks.brendel_bethge, steps=20),
            "Foolbox": of_foolbox("L2BrendelBethgeAttack", steps=20),
        },
    ),
    "ead": Race(
        "l1",
        "3 constants, 30 steps each, from c = 1; no early stop",
        {
            "armsrace": ours(
                attacks.ead,
                binary_search_steps=3,
                steps=30,
                initial_constant=1.0,
                abort_early=False,
            ),
            "Foolbox": of_foolbox(
                "EADAttack",
                binary_search_steps=3,
                steps=30,
                initial_const=1.0,
                decision_rule="L1",
                abort_early=False,
            ),
        },
    ),
    "carlini_wagner_l2": Race(
        "l2",
        "3 constants, 30 steps each, from c = 1; no early stop",
        carlini_wagner_l2(abort_early=False),
    ),
    "carlini_wagner_l2, early stop": Race(
        "l2",
        "3 constants, 30 steps each, from c = 1; ours stops image by image, the peers the batch",
        carlini_wagner_l2(abort_early=True),
    ),
    "carlini_wagner_linf": Race(
        "linf",
        "at most 20 steps for each constant and bound",
        {
            "armsrace": ours(attacks.carlini_wagner_linf, steps=20),
            "adv-lib": of_adv_lib("carlini_wagner_linf", max_iterations=20),
        },
    ),
    "carlini_wagner_l0": Race(
        "l0",
        "at most 20 steps for each set of pixels",
        {
            "armsrace": ours(attacks.carlini_wagner_l0, steps=20),
            "ART": of_art("CarliniL0Method", max_iter=20, binary_search_steps=1, batch_size=1),
        },
    ),
    "jsma": Race(
        "l0",
        "at most 200 pixels",
        {
            "armsrace": ours(attacks.jsma, gamma=200 / 224**2),
            "ART": of_art("SaliencyMapMethod", theta=1.0, gamma=200 / 224**2, batch_size=COUNT),
        },
    ),
    "one_pixel": Race(
        "l0",
        "one pixel, 50 candidates, 4 generations",
        {
            "armsrace": ours(attacks.one_pixel, population=50, generations=4, label_below=1.0),
            "torchattacks": of_torchattacks("OnePixel", pixels=1, steps=4, popsize=50),
        },
    ),
    "pointwise": Race(
        "l0",
        "at most 300 queries per image; the peer has no limit",
        {
            "armsrace": ours(attacks.pointwise, queries=300),
            "Foolbox": of_foolbox("PointwiseAttack", l2_binary_search=False),
        },
    ),
    "salt_and_pepper": Race(
        "l2",
        "50 queries",
        {
            "armsrace": ours(attacks.salt_and_pepper, norm="l2", queries=50),
            "Foolbox": of_foolbox("SaltAndPepperNoiseAttack", steps=50),
        },
    ),
    "gaussian_noise": Race(
        "l2",
        "50 draws; the peer's all of one size",
        {
            "armsrace": ours(attacks.gaussian_noise, repeats=50, levels=1, binary_search_steps=0),
            "Foolbox": of_foolbox("L2RepeatedAdditiveGaussianNoiseAttack", 50.0, repeats=50),
        },
    ),
    "uniform_noise": Race(
        "linf",
        "50 draws; the peer's all of one size",
        {
            "armsrace": ours(attacks.uniform_noise, repeats=50, levels=1, binary_search_steps=0),
            "Foolbox": of_foolbox("LinfRepeatedAdditiveUniformNoiseAttack", 0.3, repeats=50),
        },
    ),
    "boundary": Race(
        "l2",
        "at most 150 queries per image; the peer 150 steps",
        {
            "armsrace": ours(attacks.boundary, queries=150),
            "Foolbox": of_foolbox("BoundaryAttack", steps=150),
        },
    ),
    "hop_skip_jump": Race(
        "l2",
        "2 steps from 50 directions",
        {
            "armsrace": ours(attacks.hop_skip_jump, steps=2, initial_directions=50),
            "Foolbox": of_foolbox("HopSkipJumpAttack", steps=2, initial_gradient_eval_steps=50),
        },
    ),
    "rays": Race("linf", "150 queries", {"armsrace": ours(attacks.rays, queries=150)}),
    "square": Race(
        "linf",
        "ε = 2/255, at most 150 queries",
        {
            "armsrace": ours(attacks.square, epsilon=2 / 255, queries=150),
            "torchattacks": of_torchattacks("Square", eps=2 / 255, n_queries=150),
        },
    ),
    "finite_difference": Race(
        "linf",
        "SPSA, ε = 4/255, 3 steps of 32 directions",
        {
            "armsrace": ours(attacks.finite_difference, epsilon=EPSILON, steps=3, samples=32),
            "torchattacks": of_torchattacks("SPSA", eps=EPSILON, nb_iter=3, nb_sample=32),
        },
    ),
    "universal": Race(
        "linf",
        "ε = 10/255, one pass, a batch of 2",
        {
            "armsrace": ours(attacks.universal, epsilon=10 / 255, passes=1, batch_size=2),
            "ART": of_art("UniversalPerturbation", eps=10 / 255, max_iter=1, batch_size=2),
        },
    ),
    "transfer": Race("linf", "FGSM, ε = 4/255, from itself", {"armsrace": _transfer}),
    "substitute": Race("linf", "72 queries, a small network, FGSM", {"armsrace": _substitute}),
}


def photographs() -> tuple[Tensor, Tensor]:
    """The first two photographs, both classified correctly, and their labels."""
    data = datasets.load(DATA).take(COUNT)
    return data.images, data.labels


def run(race: str, name: str, limit: int) -> None:
    """Run one contestant and print what it found, as JSON in the last line."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    for module in LIBRARIES.get(name, ()):
        import_module(module)
    (x, y), network = photographs(), zoo.load(NETWORK).requires_grad_(False)
    one_pass = seconds_per_pass(network, x, y)
    model = Counting(network).eval()
    started = time.process_time()
    found = RACES[race].contestants[name](model, x, y).detach().float()
    seconds = time.process_time() - started
    one_pass = (one_pass + seconds_per_pass(network, x, y)) / 2
    with torch.no_grad():
        success = network(found).argmax(dim=1) != y
    reached = torch.where(success, distances(found - x, RACES[race].norm), -1.0)
    kilobyte = 1 if sys.platform == "darwin" else 1024
    peak = kilobyte * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # A failure is stored as −1: JSON has no infinity.
    columns = {
        "distances": [float(f"{size:.6g}") for size in reached.tolist()],
        "seconds": [round(seconds, 2)],
        "passes": [round(seconds / one_pass, 1)],
        "gibibytes": [round(peak / 2**30, 2)],
        "queries": [model.images / len(x)],
    }
    print(json.dumps(columns))


def seconds_per_pass(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Seconds of the processor for a forward and a backward pass on all photographs."""
    for number in range(4):
        if number == 1:  # The first one allocates.
            started = time.process_time()
        image = x.clone().requires_grad_()
        torch.autograd.grad(nn.functional.cross_entropy(model(image), y), image)
    return (time.process_time() - started) / 3


def measure(race: str, name: str, limit: int) -> None:
    """Run a contestant in a process of its own, and store what it found.

    One that takes more seconds than the limit, or fails, is stored as having found nothing, with
    the limit, or without a time.
    """
    command = [sys.executable, str(Path(__file__).resolve()), race, "--run", name]
    command += ["--limit", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
        CONSOLE.print(f"{race}, {name}: {last}", markup=False, soft_wrap=True)
        killed = done.returncode == -signal.SIGKILL
        columns = {"distances": [-1.0] * COUNT} | ({"limit": [float(limit)]} if killed else {})
    else:
        columns = json.loads(done.stdout.strip().splitlines()[-1])
        CONSOLE.print(f"{race}, {name}: {columns}", markup=False, soft_wrap=True)
    record(
        STUDY, key(race, name), columns, settings=RACES[race].settings, n=COUNT,
        data=datasets.describe(DATA),
    )  # fmt: skip


def key(race: str, name: str) -> str:
    """Under which a contestant is stored."""
    return f"{RACES[race].norm}: {race}: {name}"


def main() -> None:
    """Measure the races given, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("races", nargs="*", help=f"of {', '.join(RACES)}")
    parser.add_argument("--only", help="this contestant")
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--limit", type=int, default=120, help="seconds for a contestant")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(given.races[0], given.run, given.limit)
        return
    for race in given.races or RACES:
        for name in RACES[race].contestants:
            if given.only in (None, name) and (
                given.again or not is_recorded(STUDY, key(race, name))
            ):
                measure(race, name, given.limit)


if __name__ == "__main__":
    main()
