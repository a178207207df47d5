"""The public API by name, and old names that still work."""

from __future__ import annotations

from importlib import import_module

import pytest

from armsrace import attacks, defenses, losses, norms, recipes
from armsrace.attacks import adaptive
from armsrace.evaluation import arena

OLD = {
    (attacks, "momentum"): attacks.mi_fgsm,
    (adaptive, "straight_through"): adaptive.bpda,
    (adaptive, "expectation"): adaptive.eot,
    (adaptive, "smoothed_gradient"): adaptive.estimated_gradient,
    (adaptive, "SmoothedGradient"): adaptive.EstimatedGradient,
    (losses, "logits_ratio"): losses.dlr,
    (losses, "targeted_logits_ratio"): losses.targeted_dlr,
    (norms, "column"): norms.batch_view,
    (norms, "unit"): norms.normalize,
    (norms, "steepest"): norms.steepest_direction,
    (norms, "fullest_l1"): norms.linear_maximizer_l1,
    (defenses, "RECIPES"): recipes.RECIPES,
    (defenses, "mixture"): defenses.adversarial_loss,
    (defenses, "warmed_up"): defenses.epsilon_warmup,
    (defenses, "with_pairs"): defenses.robust_manifold_loss,
    (defenses, "softened"): defenses.soft_labels,
    (defenses, "Tempered"): defenses.TemperatureScaled,
    (defenses, "Surprise"): defenses.CrossNetworkNLL,
    (arena, "Unit"): arena.Job,
    (arena, "units"): arena.arena_jobs,
}


@pytest.mark.parametrize(
    ("module", "name"), OLD, ids=[f"{module.__name__}.{name}" for module, name in OLD]
)
def test_an_old_name_is_the_new_one_and_warns_with_it(module, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{module.__name__}\.{name} is now armsrace\."):
        found = getattr(module, name)
    assert found is OLD[module, name]
    assert name not in getattr(module, "__all__", ())


@pytest.mark.parametrize(
    ("module", "name", "new"),
    [
        ("composition", "straight_through", adaptive.bpda),
        ("composition", "unrolled", adaptive.unrolled),
        ("margins", "logits_ratio", losses.dlr),
        ("margins", "margin", losses.margin),
        ("norms", "column", norms.batch_view),
        ("norms", "distances", norms.distances),
    ],
)
def test_an_old_module_is_imported_from_and_warns(module: str, name: str, new: object) -> None:
    with pytest.warns(DeprecationWarning, match=rf"attacks\.{module}\.{name} is now armsrace\."):
        assert getattr(import_module(f"armsrace.attacks.{module}"), name) is new


@pytest.mark.parametrize("module", sorted({module.__name__ for module, _ in OLD}))
def test_a_name_that_never_was_is_an_attribute_error(module: str) -> None:
    with pytest.raises(AttributeError, match=rf"module '{module}' has no attribute 'nothing'"):
        _ = import_module(module).nothing
