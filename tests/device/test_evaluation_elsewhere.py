"""Every evaluation, bound and entry of the arena on another device."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from armsrace import attacks, evaluation, zoo
from armsrace.defenses import Binarized, NearestNeighbor, Purified
from armsrace.evaluation.arena import ATTACKS, DEFENSES, Defended, Job, defenses, measure
from armsrace.evaluation.arena.attacks import Entry
from armsrace.evaluation.arena.jobs import digits
from armsrace.models.linear_synthesis import LinearSynthesis
from tests.device.test_attacks_elsewhere import draws, given
from tests.device.test_defenses_elsewhere import QUICK, explaining
from tests.elsewhere import same_on_both

EPSILONS = [0.0, 0.05, 0.2]


def spread(device: torch.device) -> Any:
    """From the CPU to the device in batches, and back."""
    model, images, labels = given(torch.device("cpu"))
    attack = evaluation.seeded(partial(attacks.pgd, epsilon=0.2, steps=2), seed=1)
    wanted = (labels + 1) % 10
    found = evaluation.attack_in_batches(
        attack, model, images, labels, targets=wanted, batch_size=1, devices=[str(device)]
    )
    assert found.images.device.type == "cpu"
    own = evaluation.attack_in_batches(attack, *given(device), batch_size=1)
    return own, [value.to(device) for value in vars(found).values()]


def worst_case(device: torch.device) -> Any:
    turns = evaluation.autoattack(epsilon=0.02, steps=3, targets=2, queries=5)
    found = evaluation.worst_case(*given(device), turns)
    return found, found.accuracies


def targets(device: torch.device) -> Any:
    model, images, labels = given(device)
    every = evaluation.all_targets(images, labels, 10)
    found = attacks.fgsm(model, every[0], every[1], epsilon=0.1, targets=every[2])
    sizes = evaluation.perturbation_sizes(every[0], found, "l2")
    return every, sizes, evaluation.best_average_worst(sizes, 10)


def curves(device: torch.device) -> Any:
    model, images, labels = given(device)
    found = attacks.deepfool(model, images, labels)
    return (
        evaluation.accuracy(model, images, labels),
        evaluation.robustness_curve(model, attacks.fgsm, images, labels, EPSILONS),
        evaluation.median_distance(images, found, "l2"),
        evaluation.accuracy_at(evaluation.perturbation_sizes(images, found, "l2"), EPSILONS),
        evaluation.optimality(
            evaluation.perturbation_sizes(images, found, "l2") + 0.1,
            evaluation.perturbation_sizes(images, attacks.ddn(model, images, labels), "l2"),
        ),
    )


def budgets(device: torch.device, bisect: bool) -> Any:
    attack = partial(attacks.bim, steps=2)
    return evaluation.smallest_epsilon(attack, *given(device), EPSILONS, bisect=bisect)


def masking(device: torch.device) -> Any:
    model, images, labels = given(device)
    return evaluation.masking_report(
        model, images, labels, epsilon=0.1, surrogate=model, steps=2, queries=5, generator=draws()
    )


def indicators(device: torch.device) -> Any:
    model, images, labels = given(device)
    return evaluation.failure_indicators(
        model, images, labels, epsilon=0.1, steps=10, draws=2, generator=draws()
    )


def bounds(device: torch.device) -> Any:
    found = evaluation.synthesis_bounds(*explaining(device), search=QUICK)
    return found, found.best


def linf_bounds(device: torch.device) -> Tensor:
    return evaluation.linf_bounds(*explaining(device), search=QUICK, halvings=3)


def halfspaces(device: torch.device, norm: Any) -> Tensor:
    given = explaining(device)
    return evaluation.halfspace_bounds(*given, norm=norm, rounds=1, search=QUICK)


def certificates(device: torch.device, norm: Any) -> Any:
    _, images, _ = given(device)
    model = zoo.load("linear-synthesis", device)
    assert isinstance(model, LinearSynthesis)
    # Two of the ten pieces per class: a fifth of the rivals.
    parts = [part.detach().unflatten(0, (10, -1))[:, :2].flatten(0, 1) for part in
             (model.means, model.factors, model.offsets)]  # fmt: skip
    small = LinearSynthesis.of(*parts, classes=10)
    return evaluation.certify(small, images[:2], norm=norm, pieces=2)


CASES: dict[Callable[..., Any], tuple[str, ...]] = {
    spread: ("attack_in_batches", "seeded"),
    worst_case: ("autoattack", "worst_case"),
    targets: ("all_targets", "best_average_worst", "perturbation_sizes"),
    curves: ("accuracy", "accuracy_at", "median_distance", "optimality", "robustness_curve"),
    partial(budgets, bisect=False): ("smallest_epsilon",),
    partial(budgets, bisect=True): ("smallest_epsilon",),
    masking: ("masking_report",),
    indicators: ("failure_indicators",),
    bounds: ("synthesis_bounds",),
    linf_bounds: ("linf_bounds",),
    partial(halfspaces, norm="l2"): ("halfspace_bounds",),
    partial(halfspaces, norm="linf"): ("halfspace_bounds",),
    partial(certificates, norm="l2"): ("certify",),
    partial(certificates, norm="linf"): ("certify",),
}
"""Each with the public names that it is a case of."""
RESULTS = {
    "Case", "Certificates", "FailureIndicators", "MaskingReport", "RobustnessCurve",
    "SynthesisBounds", "TargetCases", "WorstCase",
}  # fmt: skip
"""What evaluations answer, no evaluation itself."""
COUNTS = {"mean_interval", "median_interval", "wilson", "with_interval"}
"""Statistics of plain numbers, which have no device."""


def numbered(device: torch.device, number: int) -> Any:
    return list(CASES)[number](device)


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=["+".join(names) for names in CASES.values()]
)
def test_an_evaluation(number: int) -> None:
    same_on_both(numbered, number)


def test_every_public_evaluation_has_a_case() -> None:
    covered = {name for names in CASES.values() for name in names}
    assert covered | RESULTS | COUNTS == set(evaluation.__all__) and not RESULTS & covered


QUICKER = {"samples": 30, "steps": 2, "restarts": 1}
"""For the settings of these names: what is compared is where numbers are, not how good."""


@cache
def defended(name: str, device: str) -> Defended:
    """The arena's defense, with fewer held-out digits to calibrate on and a shorter search."""
    defenses.HELD_OUT = 40
    row = DEFENSES[name]
    less = {key: min(value, QUICKER.get(key, value)) for key, value in row.settings.items()}
    return replace(row, settings=less).on(device)


def remembering(device: torch.device) -> Defended:
    """The nearest of fifty black and white digits."""
    binarize = Binarized()
    known, labels = digits(100, 150)
    memory = NearestNeighbor(binarize(known), labels)
    model = Purified(binarize, memory).to(device)
    explanations = {"explain": lambda x: memory.nearest(binarize(x)), "threshold": 0.5}
    return Defended(model, model, explanations=explanations)


def briefly(entry: Entry) -> Entry:
    """The arena's attack, five steps of each of its phases."""
    given, keywords = entry.settings(slow=True), inspect.signature(entry.run).parameters
    phases = {"approach_steps", "steps", "final_steps"} & keywords.keys()
    less = {name: min(given.get(name, 5), 5) for name in phases}
    return replace(entry, reduced_options={**(entry.reduced_options or {}), **less})


def attacked(device: torch.device, defense: str, attack: str) -> Any:
    entry = briefly(ATTACKS[attack])
    row = remembering(device) if entry.needs else defended(defense, str(device))
    images, labels = (part.to(device) for part in digits(0, 1))
    found = entry.attack(row, images, labels, seed=0, slow=True)
    return found, row.clean_correct(images, labels), row.is_adversarial(found.images, labels)


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_of_the_arena(name: str) -> None:
    same_on_both(attacked, name, "rand-fgsm-linf")


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_of_the_arena(name: str) -> None:
    same_on_both(attacked, "detector" if ATTACKS[name].adaptive_model else "rbf", name)


def measured(device: torch.device) -> Any:
    unit = Job("rbf", "uniform-noise-linf", 0, 2)
    frame = measure(unit, unit.key, str(device))
    assert {name.partition(",")[0] for name in frame.pop("device")} == {device.type.upper()}
    return frame.drop(columns=["seconds"]).to_dict("list")


def test_a_unit_of_the_arena() -> None:
    """Its columns are the same, and it says where it was measured."""
    same_on_both(measured)
