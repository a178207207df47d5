"""Every declared attack keeps its budget or says how far it went, on a small real network."""

import inspect

import pytest
import torch
from torch import nn

from armsrace import defenses
from armsrace.contracts import AttackResult
from armsrace.evaluation.arena import ATTACKS, BUDGETS, Entry
from armsrace.evaluation.arena.attacks import at_smallest_epsilon, runner_up_target
from armsrace.evaluation.arena.defended import Defended
from armsrace.evaluation.arena.defenses import gated, plain
from armsrace.evaluation.arena.jobs import digits
from armsrace.norms import distances


def explaining() -> Defended:
    """The nearest of 200 black and white digits."""
    binarize = defenses.Binarized()
    known, labels = digits(100, 300)
    memory = defenses.NearestNeighbor(binarize(known), labels)
    model = defenses.Purified(binarize, memory)
    explanations = {"explain": lambda x: memory.nearest(binarize(x)), "threshold": 0.5}
    return Defended(model, model, explanations=explanations)


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_entry_runs_as_declared(name: str, s3_cnn) -> None:
    entry = ATTACKS[name]
    images, _ = digits(0, 3)
    slow = entry.reduced_options is not None
    defended = explaining() if entry.needs else plain(s3_cnn)
    labels = defended.model(images).argmax(dim=1)
    first, again = (entry.attack(defended, images, labels, 0, slow) for _ in range(2))
    assert torch.equal(first.images, again.images)
    moved = distances(first.images - images, entry.norm)
    if entry.fixed:
        assert (moved <= BUDGETS[entry.norm] * (1 + 1e-5)).all() and (moved > 0).all()
    else:
        assert (moved[first.success] > 0).all() and (moved[~first.success] == 0).all()
    assert (first.gradients > 0).all() == (entry.access == "gradients")
    assert (first.queries[0] == 1) == (entry.access == "another network")


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_attack_that_takes_a_norm_is_run_in_that_of_its_column(name: str) -> None:
    entry = ATTACKS[name]
    norm = inspect.signature(entry.run).parameters.get("norm")
    for slow in (False, True):
        assert norm is None or entry.settings(slow).get("norm", norm.default) == entry.norm


def test_an_aimed_attack_goes_through_the_detector_to_a_class_that_is_no_refusal(s3_cnn) -> None:
    images, labels = digits(0, 4)

    def alarmed(batch):
        """The detector objects to everything, so that "refused" is always the likeliest class."""
        logits = s3_cnn(batch)
        return torch.cat([logits, logits.amax(1, keepdim=True) + 1], dim=1)

    asked = []

    def attack(model, images, labels, targets):
        asked.append((model, targets))
        return AttackResult(images, labels == 0, torch.ones_like(labels), labels)

    entry = Entry("a", "l2", runner_up_target(attack), "gradients", adaptive_model=True)
    result = entry.attack(Defended(s3_cnn, s3_cnn, None, alarmed), images, labels, 0, False)
    second = s3_cnn(images).topk(2).indices[:, 1]
    assert asked[0][0] is alarmed and torch.equal(asked[0][1], second)
    assert result.queries.tolist() == [2] * 4
    entry.attack(plain(s3_cnn), images, labels, 0, False)
    assert asked[1][0] is s3_cnn


def test_brief_options_are_less_work() -> None:
    for entry in ATTACKS.values():
        full, reduced_options = entry.settings(False), entry.settings(True)
        assert full.keys() == reduced_options.keys()
        for name in ("steps", "queries", "repeats", "binary_search_steps"):
            assert reduced_options.get(name, 0) <= full.get(name, 0)


@pytest.mark.parametrize(("threshold", "reached"), [(0.045, 0.05), (0.115, 0.12), (0.9, 0.0)])
def test_the_least_budget_is_the_first_level_at_which_the_attack_succeeds(
    threshold: float, reached: float
) -> None:
    dark, zero = torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    steps_seen = set()

    def bright(images):
        excess = images.mean(dim=(1, 2, 3)) - threshold
        return torch.stack([-excess, excess], dim=1)

    def brighten(model, images, labels, *, epsilon, steps):
        steps_seen.add(steps)
        moved, one = images + epsilon, torch.ones_like(labels)
        return AttackResult(moved, model(moved).argmax(1) != labels, one, one)

    result = at_smallest_epsilon(brighten)(bright, dark, zero, largest=0.64, levels=64, steps=7)
    assert result.images.amax().item() == pytest.approx(reached)
    assert result.success.tolist() == [reached > 0] * 2 and steps_seen == {7}


def test_who_knows_of_a_threshold_follows_a_slope_to_the_same_decisions() -> None:
    first = nn.Conv2d(1, 4, 3)
    with torch.no_grad():
        first.weight.mul_(0.05)
        first.bias.fill_(-0.2)
    defended = gated(nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10)))
    images = torch.rand(3, 1, 28, 28, requires_grad=True)
    slopes = []
    for gradient_model in (defended.gradient_model, defended.adaptive_model):
        logits = gradient_model(images)
        assert torch.equal(logits, defended.model(images))
        slopes.append(torch.autograd.grad(logits[:, 0].sum(), images)[0])
    assert not slopes[0].any() and slopes[1].any()
