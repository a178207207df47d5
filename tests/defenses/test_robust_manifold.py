"""Training on overpowered pairs: what the objective adds, and what it does to a network."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from armsrace import zoo
from armsrace.attacks.generative.overpowered import overpowered, pair_starts
from armsrace.datasets import Dataset
from armsrace.defenses import (
    divergence_apart,
    robust_manifold_loss,
)
from armsrace.defenses.robust_manifold import from_weights
from armsrace.models import classifiers
from armsrace.models.autoencoders import VariationalAutoencoder
from armsrace.recipes import RECIPES
from armsrace.training.loop import fit
from armsrace.training.recipe import Recipe, always, cross_entropy, one_cycle

Digits = tuple[Tensor, Tensor]
PAIRS = {"epsilon": 3.0, "pairs": 12, "steps": 40, "every": 1}


@pytest.fixture(scope="module")
def vae() -> VariationalAutoencoder:
    loaded = zoo.load("manifold-vae")
    assert isinstance(loaded, VariationalAutoencoder)
    return loaded


def test_divergence_is_the_sum_of_its_definition(trained) -> None:
    pairs = torch.rand(5, 2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    first, second = (trained(pairs[:, k]).softmax(dim=1) for k in (0, 1))
    expected = (first * (first / second).log()).sum(dim=1)
    torch.testing.assert_close(divergence_apart(trained, pairs), expected, atol=1e-4, rtol=1e-4)
    same = pairs[:, :1].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(divergence_apart(trained, same), torch.zeros(5), atol=1e-5, rtol=0)


def test_the_objective_adds_the_pairs_that_are_found(trained, vae, digits: Digits) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    objective = robust_manifold_loss(cross_entropy, weight=3.0, **PAIRS)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        loss = objective(trained, images, labels)
        torch.manual_seed(4)
        torch.randint(1, ())
        starts = torch.randn(PAIRS["pairs"], 2, 20)
    found = overpowered(trained, vae.decode, starts, epsilon=3.0, steps=40)
    assert 1 <= found.found.sum() < PAIRS["pairs"], "some count and some do not"
    added = 3.0 * found.divergences[found.found].mean()
    torch.testing.assert_close(loss, cross_entropy(trained, images, labels) + added)
    assert added > 0.1 and loss.requires_grad


def test_pairs_come_by_lot(trained, digits: Digits) -> None:
    images, labels = digits[0][:4], digits[1][:4]
    objective = robust_manifold_loss(cross_entropy, **(PAIRS | {"every": 4, "pairs": 4}))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        clean = cross_entropy(trained, images, labels)
        added = [bool(objective(trained, images, labels) > clean) for _ in range(40)]
    assert 4 <= sum(added) <= 16


def test_a_step_pulls_the_pairs_together(model, vae, digits: Digits) -> None:
    """Lowering the objective lowers the divergence of new pairs, attacked anew."""

    def nothing(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return 0.05 * cross_entropy(model, images, labels)

    def worst() -> float:
        starts = pair_starts(24, 20, torch.Generator().manual_seed(9))
        made = overpowered(model, vae.decode, starts, epsilon=3.0, steps=40)
        return float(made.divergences[made.found].mean())

    objective, before = robust_manifold_loss(nothing, weight=1.0, **PAIRS), worst()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(12):
            optimizer.zero_grad()
            objective(model, *digits).backward()
            optimizer.step()
    assert worst() < 0.7 * before


def test_training_goes_on_from_given_weights(stripes: Dataset) -> None:
    whole = Recipe(1, 64, torch.optim.SGD, lambda progress: 0.0, "", around=from_weights("s3-cnn"))
    started, _ = fit(lambda: whole.around(classifiers.s3_cnn()), stripes, whole)
    shipped = zoo.load("s3-cnn").state_dict().values()
    assert all(map(torch.equal, started.state_dict().values(), shipped))
    with pytest.raises(RuntimeError, match="state_dict"):
        from_weights("s3-cnn")(classifiers.maxout())


def test_the_recipe_gives_a_loss_with_a_gradient(digits: Digits) -> None:
    recipe = RECIPES["manifold-robust"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = recipe.around(zoo.build("manifold-robust"))
        loss = recipe.objective(0.5)(model, digits[0][:8], digits[1][:8])
    loss.backward()
    assert loss > 0 and all(weights.grad.isfinite().all() for weights in model.parameters())


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"epsilon": -1.0}, "epsilon must be >= 0, got -1"),
        ({"weight": -1.0}, "weight must be >= 0, got -1"),
        ({"pairs": 0}, "pairs must be >= 1, got 0"),
        ({"every": 0}, "every must be >= 1, got 0"),
    ],
)
def test_bad_settings_are_refused(options, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        robust_manifold_loss(cross_entropy, **(PAIRS | options))


def test_a_decoder_that_is_none_is_named(trained, digits: Digits) -> None:
    with pytest.raises(TypeError, match="decoder must name a VariationalAutoencoder, got 's3-cnn'"):
        robust_manifold_loss(cross_entropy, decoder="s3-cnn", **PAIRS)(
            trained, digits[0][:2], digits[1][:2]
        )


def test_it_trains_in_the_one_loop(stripes: Dataset) -> None:
    objective = robust_manifold_loss(cross_entropy, **(PAIRS | {"every": 4, "pairs": 8}))
    recipe = Recipe(1, 64, torch.optim.Adam, one_cycle(1e-2), "", objective=always(objective))
    first, _ = fit(classifiers.softmax_regression, stripes, recipe)
    again, _ = fit(classifiers.softmax_regression, stripes, recipe)
    plain, _ = fit(
        classifiers.softmax_regression, stripes, replace(recipe, objective=always(cross_entropy))
    )
    weights = [[*model.state_dict().values()] for model in (first, again, plain)]
    assert all(map(torch.equal, weights[0], weights[1]))
    assert not all(map(torch.equal, weights[0], weights[2]))
