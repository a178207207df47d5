"""HopSkipJump comes to the known distance of a linear model, and its direction to the gradient."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.base import AttackContext
from armsrace.attacks.black_box.hop_skip_jump import _Hops
from armsrace.contracts import Bounds, Norm
from armsrace.norms import distances
from armsrace.randomness import Keys

WIDE = Bounds(-50, 50)
Digits = tuple[Tensor, Tensor]
Linear = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def linear() -> Linear:
    """The weights (2, 12) of a linear model, images (8, 1, 3, 4) and their labels."""
    draws = torch.Generator().manual_seed(2)
    weights = torch.randn(2, 12, generator=draws, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(8, 1, 3, 4, generator=draws, dtype=torch.float64)
    return weights, images, (images.flatten(1) @ weights.T).argmax(dim=1)


@pytest.fixture
def some(trained: nn.Module, digits: Digits) -> Digits:
    """Ten digits that the small network gets right."""
    with torch.no_grad():
        right = (trained(digits[0]).argmax(dim=1) == digits[1]).nonzero()[:10, 0]
    return digits[0][right], digits[1][right]


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_it_converges_to_the_distance_of_a_linear_model(
    linear: Linear, norm: Norm, dual: int
) -> None:
    weights, images, labels = linear
    logits = images.flatten(1) @ weights.T
    expected = (logits[:, 0] - logits[:, 1]).abs() / (weights[0] - weights[1]).norm(p=dual)
    found = attacks.hop_skip_jump(
        lambda batch: batch.flatten(1) @ weights.T, images, labels, norm=norm, steps=25,
        bounds=WIDE,
    )  # fmt: skip
    assert found.success.all() and (found.gradients == 0).all()
    ratio = distances(found.images - images, norm) / expected
    assert ratio.min() >= 1 - 1e-9, "nearer than the boundary"
    assert ratio.max() < 1.02


def test_its_direction_is_the_gradient(linear: Linear) -> None:
    """With 3,000 directions the cosine to the true normal is nearly one (their Theorem 2)."""
    weights, images, labels = linear
    context = AttackContext(
        lambda batch: batch.flatten(1) @ weights.T, images, labels, None, WIDE, decisions=True
    )
    normal = torch.where(labels == 0, 1.0, -1.0)[:, None] * (weights[1] - weights[0])
    # Far beyond the boundary, so that the bisection has something to do.
    hops = _Hops(context, Keys(images), images + 3 * normal.view_as(images), "l2", 1.0)
    hops.used, hops.limit = torch.zeros_like(labels), torch.inf
    hops.return_to_boundary()
    v = hops.direction(1, 3000, 256, torch.Generator().manual_seed(0)).flatten(1)
    torch.testing.assert_close(v.norm(dim=1), torch.ones_like(v[:, 0]))
    assert (v * normal / normal.norm(dim=1, keepdim=True)).sum(dim=1).min() > 0.98


def test_a_start_leads_to_its_class(trained: nn.Module, some: Digits) -> None:
    images, labels = some
    other = (labels[:, None] != labels).int().argmax(dim=1)
    found = attacks.hop_skip_jump(
        trained, images, labels, queries=800, start=images[other], targets=labels[other]
    )
    with torch.no_grad():
        assert torch.equal(trained(found.images).argmax(dim=1), labels[other])
    at_start = distances(images[other] - images, "l2")
    assert found.success.all() and (distances(found.images - images, "l2") < 0.5 * at_start).all()


def test_batch_size_changes_nothing(trained: nn.Module, some: Digits) -> None:
    whole, parts = (
        attacks.hop_skip_jump(trained, *some, steps=2, batch_size=size) for size in (4096, 1)
    )
    torch.testing.assert_close(whole.images, parts.images, rtol=0, atol=0.02)
    assert torch.equal(whole.queries, parts.queries)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"norm": "l1"}, "norm must be one of l2, linf, got 'l1'"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"initial_directions": 0}, "initial_directions must be >= 1, got 0"),
        ({"gamma": 0.0}, "gamma must be >= 1e-06, got 0"),
        ({"tries": 0}, "tries must be >= 1, got 0"),
        ({"queries": 2}, "queries must be >= 3, got 2"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"start": torch.zeros(3, 1, 28, 28)}, "start must have shape (10, 1, 28, 28), got (3,"),
    ],
)
def test_bad_options(trained: nn.Module, some: Digits, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        attacks.hop_skip_jump(trained, *some, **options)


def test_a_start_that_fools_nobody_is_refused(trained: nn.Module, some: Digits) -> None:
    with pytest.raises(ValueError, match="start must be adversarial, got 10 of 10 that are not"):
        attacks.hop_skip_jump(trained, *some, start=some[0])
