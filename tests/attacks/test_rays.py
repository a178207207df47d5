"""RayS finds the exact corner of a linear model, and what the authors' own search finds."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Bounds, Model
from armsrace.norms import distances

Digits = tuple[Tensor, Tensor]


@pytest.fixture
def some(trained: nn.Module, digits: Digits) -> Digits:
    """Eight digits that the small network gets right."""
    with torch.no_grad():
        right = (trained(digits[0]).argmax(dim=1) == digits[1]).nonzero()[:8, 0]
    return digits[0][right], digits[1][right]


def one_ray_at_a_time(model: Model, x: Tensor, label: int, limit: int) -> float:
    """The radius that the authors' search finds for one image (1, C, H, W), step by step."""
    d, asked = x.numel(), 0
    signs, best = torch.ones_like(x).flatten(), math.inf
    level, block = 0, 0

    def is_adversarial(radius: float, signs: Tensor) -> bool:
        nonlocal asked
        asked += 1
        image = (x + min(radius, 2.0) * signs.view_as(x)).clamp(0, 1)
        return int(model(image).argmax()) != label

    while asked < limit:
        size = math.ceil(d / 2**level)
        trial = signs.clone()
        trial[block * size : (block + 1) * size] *= -1
        if is_adversarial(best, trial):
            low, high = 0.0, min(best, 1.0)
            while (high - low) * math.sqrt(d) > 1e-3:
                middle = (low + high) / 2
                if is_adversarial(middle, trial):
                    high = middle
                else:
                    low = middle
            if high < best:
                best, signs = high, trial
        block += 1
        if block * size >= d:
            level, block = level + 1, 0
    return best


def test_it_finds_the_corner_of_a_linear_model() -> None:
    draws = torch.Generator().manual_seed(3)
    weights = torch.randn(2, 16, generator=draws, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(6, 1, 4, 4, generator=draws, dtype=torch.float64)
    logits = images.flatten(1) @ weights.T
    expected = (logits[:, 0] - logits[:, 1]).abs() / (weights[0] - weights[1]).abs().sum()
    found = attacks.rays(
        lambda batch: batch.flatten(1) @ weights.T, images, logits.argmax(dim=1), tolerance=1e-5,
        bounds=Bounds(-50, 50),
    )  # fmt: skip
    assert found.success.all() and (found.queries < 5000).all(), "ends when nothing is gained"
    excess = distances(found.images - images, "linf") - expected
    assert excess.min() >= -1e-12 and excess.max() < 100 * 2 * 1e-5 / math.sqrt(16)


def test_it_is_as_near_as_the_authors_search(trained: nn.Module, some: Digits) -> None:
    with torch.no_grad():
        theirs = torch.tensor([
            one_ray_at_a_time(trained, image[None], int(label), 400)
            for image, label in zip(*some, strict=True)
        ])  # fmt: skip
    found = attacks.rays(trained, *some, queries=400)
    ours = distances(found.images - some[0], "linf")
    assert found.success.all() and found.queries.max() <= 400
    assert ours.mean() <= 1.05 * theirs.mean(), f"{ours} and {theirs}"


def test_each_image_goes_to_a_corner_of_its_ball(trained: nn.Module, some: Digits) -> None:
    found = attacks.rays(trained, *some, queries=300)
    delta = found.images - some[0]
    radius = distances(delta, "linf").view(-1, 1, 1, 1)
    inside = (found.images > 0) & (found.images < 1)
    torch.testing.assert_close(delta.abs()[inside], radius.expand_as(delta)[inside])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"queries": 2}, "queries must be >= 3, got 2"),
        ({"tolerance": 0.0}, "tolerance must be >= 1e-06, got 0"),
        ({"tries": 0}, "tries must be >= 1, got 0"),
    ],
)
def test_bad_options(trained: nn.Module, some: Digits, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        attacks.rays(trained, *some, **options)
