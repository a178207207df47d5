"""A run that is looked at is the run that it would have been."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from armsrace.datasets import Dataset
from armsrace.models import classifiers
from armsrace.recipes import RECIPES
from armsrace.training.callbacks import follow
from armsrace.training.loop import fit
from armsrace.training.recipe import cross_entropy

RECIPE = replace(RECIPES["maxout"], epochs=2, batch_size=64)


def small() -> nn.Module:
    return classifiers.maxout(units=8, pieces=2)


def test_looking_changes_nothing(stripes: Dataset) -> None:
    def look(model: nn.Module) -> float:
        assert not model.training
        torch.rand(3)
        return cross_entropy(model, stripes.images, stripes.labels).item()

    before = torch.get_rng_state()
    model, seen = follow(small, stripes, RECIPE, look, every=6)
    assert torch.equal(before, torch.get_rng_state())
    assert [steps for steps, _ in seen] == [0, 6, 12, 16]
    losses = [loss for _, loss in seen]
    assert losses[0] > losses[-1] and len(set(losses)) == 4, "each look saw another network"
    plain, _ = fit(small, stripes, RECIPE)
    assert all(map(torch.equal, model.state_dict().values(), plain.state_dict().values()))
    assert not model.training
    with torch.random.fork_rng():
        assert look(model) == losses[-1], "the last look is at the network that is returned"


def test_every_must_be_positive(stripes: Dataset) -> None:
    with pytest.raises(ValueError, match="every must be"):
        follow(small, stripes, RECIPE, lambda model: None, every=0)
