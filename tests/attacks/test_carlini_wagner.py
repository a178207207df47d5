"""Carlini and Wagner in L2 and L∞: exact on linear models, at the box's ends, rounded, sure."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.norms import distances
from armsrace.contracts import AttackResult, Norm

Digits = tuple[Tensor, Tensor]
SEARCHES = (("l2", attacks.carlini_wagner_l2), ("linf", attacks.carlini_wagner_linf))
each = pytest.mark.parametrize(("norm", "attack"), SEARCHES, ids=["l2", "linf"])
QUICK: dict[str, dict[str, Any]] = {
    "l2": {"binary_search_steps": 5, "steps": 60, "step_size": 0.05, "initial_constant": 0.1},
    "linf": {"steps": 100, "step_size": 0.05, "initial_constant": 0.1},
}


def _linear() -> tuple[Tensor, Tensor, Tensor]:
    """Weights (10, 12), gray images (30, 1, 3, 4), and the labels that the linear model gives."""
    draws = torch.Generator().manual_seed(10)
    weights = torch.randn(10, 12, generator=draws, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(30, 1, 3, 4, generator=draws, dtype=torch.float64)
    return weights, images, (images.flatten(1) @ weights.T).argmax(dim=1)


def _feet(weights: Tensor, images: Tensor, labels: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """The distance (N, K) to each class's hyperplane, and bool: the attack's exact answer is it.

    The foot must be a point of the class, with no third one before it, and well in the box. One
    nearer than a few steps of Adam is left out, for the search sees no less than a step.
    """
    normals = weights - weights[labels][:, None]
    gaps = -torch.einsum("nkd,nd->nk", normals, images.flatten(1))
    along, size = (normals, 2) if norm == "l2" else (normals.sign(), 1)
    lengths = torch.linalg.vector_norm(normals, ord=size, dim=2)
    feet = images.flatten(1)[:, None] + along * (gaps / lengths**size)[..., None]
    logits = feet @ weights.T
    leads = logits.diagonal(dim1=1, dim2=2) >= logits.amax(dim=2) - 1e-9
    inside = ((feet > 0.05) & (feet < 0.95)).all(dim=2)
    return gaps / lengths, leads & inside & (gaps > 0.05 * lengths)


def _sizes(found: AttackResult, images: Tensor, norm: Norm) -> Tensor:
    return distances(found.images - images, norm)


def _assert_near(found: AttackResult, images: Tensor, exact: Tensor, norm: Norm) -> None:
    """All succeed, never below |gap| / ‖w‖ (dual norm), above by 1 % or, for the ceilings, 6 %."""
    assert found.success.all()
    excess = _sizes(found, images, norm) / exact - 1
    worst = {"l2": 0.01, "linf": 0.06}[norm]
    assert excess.min() > -1e-9 and excess.max() < worst, f"{excess.min()} to {excess.max()}"


def _lead(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """By how many logits the target leads (N,)."""
    with torch.no_grad():
        logits = model(images)
    own = logits.gather(1, targets[:, None])[:, 0]
    return own - logits.scatter(1, targets[:, None], -torch.inf).amax(dim=1)


@each
def test_the_distance_is_that_of_the_hyperplane(norm: Norm, attack) -> None:
    weights, images, labels = _linear()
    exact, right = _feet(weights, images, labels, norm)
    places, targets = right.nonzero(as_tuple=True)
    assert len(places) >= 15
    images = images[places]
    found = attack(lambda x: x.flatten(1) @ weights.T, images, labels[places], targets=targets)
    _assert_near(found, images, exact[right], norm)


@each
def test_without_a_target_the_other_of_two_classes_is_reached(norm: Norm, attack) -> None:
    weights, images, _ = _linear()
    weights = weights[:2]
    labels = (images.flatten(1) @ weights.T).argmax(dim=1)
    exact = _feet(weights, images, labels, norm)[0].nan_to_num(0).amax(dim=1)
    found = attack(lambda batch: batch.flatten(1) @ weights.T, images, labels)
    _assert_near(found, images, exact, norm)


@each
def test_black_and_white_pixels_leave_the_ends_of_the_box(norm: Norm, attack) -> None:
    """Only inward steps help, and every pixel is at an end."""
    images = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).view(1, 1, 2, 2)
    weights = torch.tensor([1.0, 2.0, -1.0, -2.0], dtype=torch.float64)

    def model(batch: Tensor) -> Tensor:
        margin = (batch - images).flatten(1) @ weights - 0.9
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    found = attack(model, images, torch.tensor([0]))
    exact = 0.9 / torch.linalg.vector_norm(weights, ord={"l2": 2, "linf": 1}[norm])
    assert found.success.all() and (found.images != images).all()
    assert float(_sizes(found, images, norm)) == pytest.approx(float(exact), rel=0.06)


@each
def test_confidence_is_kept_and_costs_distance(
    norm: Norm, attack, model: nn.Module, digits: Digits
) -> None:
    images, labels = digits[0][:12], digits[1][:12]
    targets = (labels + 1) % 10
    near, sure = (
        attack(model, images, labels, targets=targets, confidence=kappa, **QUICK[norm])
        for kappa in (0.0, 4.0)
    )
    assert near.success.all() and sure.success.all()
    assert (_lead(model, sure.images, targets) >= 4).all()
    assert (_lead(model, near.images, targets) < 4).all()
    assert (_sizes(sure, images, norm) > _sizes(near, images, norm)).all()


@each
def test_without_success_the_clean_image_comes_back(
    norm: Norm, attack, model: nn.Module, digits: Digits
) -> None:
    """No image leads by a thousand logits; where the label was wrong before, that is a success."""
    images, labels = digits[0][:10], digits[1][:10].clone()
    labels[0] = (labels[0] + 1) % 10
    found = attack(model, images, labels, confidence=1000.0, **QUICK[norm])
    assert torch.equal(found.images, images)
    with torch.no_grad():
        assert torch.equal(found.success, model(images).argmax(dim=1) != labels)


@each
def test_what_was_rounded_succeeds(norm: Norm, attack, model: nn.Module, digits: Digits) -> None:
    """At four grey values rounding afterwards undoes many; within the search it undoes none."""
    images, labels = (digits[0][:20] * 3).round() / 3, digits[1][:20]
    with torch.no_grad():
        right = model(images).argmax(dim=1) == labels
    images, labels = images[right], labels[right]
    options = QUICK[norm] | ({"step_size": 0.1} if norm == "l2" else {})
    found = attack(model, images, labels, levels=4, **options)
    assert found.success.all()
    torch.testing.assert_close(found.images * 3, (found.images * 3).round(), rtol=0, atol=1e-5)
    afterwards = attack(model, images, labels, **options)
    with torch.no_grad():
        still = model((afterwards.images * 3).round() / 3).argmax(dim=1) != labels
    assert afterwards.success.all() and still.double().mean() < 0.5


def test_a_search_begins_where_it_is_told(model: nn.Module, digits: Digits) -> None:
    """One step sees the start alone: white is adversarial for all but one class, and is kept."""
    images, labels = digits[0][:20], digits[1][:20]
    white = torch.ones_like(images)
    found = attacks.carlini_wagner_l2(
        model, images, labels, start=white, steps=1, binary_search_steps=1
    )
    with torch.no_grad():
        fooled = model(white).argmax(dim=1) != labels
        already = model(images).argmax(dim=1) != labels
    expected = torch.where((fooled & ~already).view(-1, 1, 1, 1), white, images)
    assert fooled.any()
    torch.testing.assert_close(found.images, expected, rtol=0, atol=1e-6)
    nearer = attacks.carlini_wagner_l2(model, images, labels, start=white, **QUICK["l2"])
    moved = fooled & ~already
    assert (_sizes(nearer, images, "l2") < 0.5 * _sizes(found, images, "l2"))[moved].all()


def test_all_steps_are_taken_where_none_may_be_left_out(model: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:6], digits[1][:6]
    options = {"binary_search_steps": 4, "steps": 30, "step_size": 0.05}
    whole = attacks.carlini_wagner_l2(model, images, labels, abort_early=False, **options)
    hasty = attacks.carlini_wagner_l2(model, images, labels, **options)
    with torch.no_grad():
        right = model(images).argmax(dim=1) == labels
    assert (whole.gradients == torch.where(right, 1 + 4 * 30, 1)).all()
    assert (hasty.gradients <= whole.gradients).all() and hasty.gradients.sum() < 6 * 100


@pytest.mark.parametrize(
    ("attack", "options", "rule"),
    [
        (attacks.carlini_wagner_l2, {"confidence": -1.0}, "confidence must be >= 0, got -1"),
        (attacks.carlini_wagner_l2, {"steps": 0}, "steps must be >= 1, got 0"),
        (attacks.carlini_wagner_l2, {"binary_search_steps": 1.5}, "must be an integer, got 1.5"),
        (attacks.carlini_wagner_l2, {"step_size": 0.0}, "step_size must be >= 1e-06, got 0"),
        (attacks.carlini_wagner_l2, {"levels": 1}, "levels must be >= 2, got 1"),
        (
            attacks.carlini_wagner_l2, {"start": torch.zeros(1, 1, 28, 28)},
            "start must have the shape of images (2, 1, 28, 28), got (1, 1, 28, 28)",
        ),
        (
            attacks.carlini_wagner_l2, {"start": torch.full((2, 1, 28, 28), 2.0)},
            "start must lie in [0.0, 1.0], got values in [2, 2]",
        ),
        (attacks.carlini_wagner_linf, {"decrease": 1.0}, "decrease must be > 0 and < 1, got 1.0"),
        (
            attacks.carlini_wagner_linf, {"largest_constant": 1e-3},
            "largest_constant must be >= 0.01, got 0.001",
        ),
        (attacks.carlini_wagner_linf, {"initial_constant": 0.0}, "initial_constant must be >= 1e"),
    ],
)  # fmt: skip
def test_bad_options_are_named(attack, options: dict[str, Any], rule: str, digits: Digits) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises((ValueError, TypeError), match=re.escape(rule)):
        attack(model, digits[0][:2], digits[1][:2], **options)
