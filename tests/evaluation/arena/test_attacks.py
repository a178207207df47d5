"""Every declared attack keeps its budget or says how far it went, on a small real network."""

import pytest
import torch

from armsrace.attacks.norms import distances
from armsrace.evaluation.arena import ATTACKS, BUDGETS
from armsrace.evaluation.arena.cells import digits


@pytest.mark.parametrize("name", list(ATTACKS))
def test_an_entry_runs_as_declared(name: str, s3_cnn) -> None:
    entry = ATTACKS[name]
    images, labels = digits(0, 3)
    slow = entry.brief is not None
    first, again = (entry.attack(s3_cnn, images, labels, 0, slow) for _ in range(2))
    assert torch.equal(first.images, again.images)
    moved = distances(first.images - images, entry.norm)
    if entry.fixed:
        assert (moved <= BUDGETS[entry.norm] * (1 + 1e-5)).all() and (moved > 0).all()
    else:
        assert (moved[first.success] > 0).all() and (moved[~first.success] == 0).all()
    assert (first.gradients > 0).all() == (entry.knows == "gradients")
    assert (first.queries[0] == 1) == (entry.knows == "another network")


def test_brief_options_are_less_work() -> None:
    for entry in ATTACKS.values():
        full, brief = entry.settings(False), entry.settings(True)
        assert full.keys() == brief.keys()
        for name in ("steps", "queries", "repeats", "binary_search_steps"):
            assert brief.get(name, 0) <= full.get(name, 0)
