"""σ-zero counts whole pixels, and works in any box."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.norms import distances

Digits = tuple[Tensor, Tensor]


def test_a_pixel_counts_once_with_all_its_channels() -> None:
    """Three channels of one pixel suffice, or one channel each of two."""
    weight = torch.zeros(2, 3, 4, 4)
    weight[1, :, 0, 0] = 1.0
    weight[1, 0, 2, 1:3] = 1.2
    weight[1] -= 0.01
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    flat[1].weight.data, flat[1].bias.data = weight.flatten(1), torch.tensor([0.0, -2.0])
    images = torch.zeros(1, 3, 4, 4)
    found = attacks.sigma_zero(flat, images, torch.tensor([0]), steps=100)
    assert found.success.all()
    assert float(distances(found.images - images, "l0")) == 1
    assert (found.images != images).sum() == 3


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"step_size": 0.0}, "step_size must be >= 1e-06, got 0"),
        ({"sigma": 0.0}, "sigma must be >= 1e-12, got 0"),
        ({"threshold": -0.1}, "threshold must be >= 0, got -0.1"),
        ({"threshold_rate": -1}, "threshold_rate must be >= 0, got -1"),
        ({"patience": 1.5}, "patience must be an integer, got 1.5"),
    ],
)
def test_bad_options(trained: nn.Module, digits: Digits, options, rule: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rule):
        attacks.sigma_zero(trained, digits[0][:2], digits[1][:2], **options)
