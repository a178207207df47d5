"""Carlini and Wagner in L2 and L∞: confidence, failure, rounding, starts and their options."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import AttackResult, Norm
from armsrace.norms import distances

Digits = tuple[Tensor, Tensor]
SEARCHES = (("l2", attacks.carlini_wagner_l2), ("linf", attacks.carlini_wagner_linf))
each = pytest.mark.parametrize(("norm", "attack"), SEARCHES, ids=["l2", "linf"])
QUICK: dict[str, dict[str, Any]] = {
    "l2": {"binary_search_steps": 5, "steps": 60, "step_size": 0.05, "initial_constant": 0.1},
    "linf": {"steps": 100, "step_size": 0.05, "initial_constant": 0.1},
}


def _sizes(found: AttackResult, images: Tensor, norm: Norm) -> Tensor:
    return distances(found.images - images, norm)


def _lead(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """By how many logits the target leads (N,)."""
    with torch.no_grad():
        logits = model(images)
    own = logits.gather(1, targets[:, None])[:, 0]
    return own - logits.scatter(1, targets[:, None], -torch.inf).amax(dim=1)


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
    # A search of so few steps may end a little off its best: not every image, but nearly.
    small, large = _sizes(near, images, norm), _sizes(sure, images, norm)
    assert (large > small).sum() >= 10 and large.mean() > 1.1 * small.mean()


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
    """At four gray values rounding afterwards undoes many; within the search it undoes none."""
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
            "start must have shape (2, 1, 28, 28), got (1, 1, 28, 28)",
        ),
        (
            attacks.carlini_wagner_l2, {"start": torch.full((2, 1, 28, 28), 2.0)},
            "start must lie in [0.0, 1.0], got values in [2.0, 2.0]",
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
