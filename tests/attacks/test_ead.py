"""EAD changes the one pixel that matters, and each rule is the best by its own measure."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.norms import distances

Digits = tuple[Tensor, Tensor]


@pytest.mark.parametrize("aimed", [False, True])
def test_one_pixel_of_a_linear_model(aimed: bool) -> None:
    """The pixel with the largest weight is the nearest in L1: 0.25 from the boundary."""
    weight = torch.tensor([2.0, 0.5, 0.25, 0.1])

    def model(images: Tensor) -> Tensor:
        z = images.flatten(1) @ weight - 1.0
        return torch.stack([-z, z], dim=1)

    images = torch.tensor([[[[0.1, 0.5, 0.5, 0.25]]]])
    labels = torch.tensor([0])
    exact = (1.0 - float(images.flatten() @ weight)) / 2.0
    found = attacks.ead(model, images, labels, targets=1 - labels if aimed else None, steps=200)
    moved = (found.images - images).flatten()
    assert found.success.all()
    assert (moved[1:] == 0).all()
    assert exact <= float(moved[0]) <= 1.02 * exact


def test_each_rule_is_best_by_its_own_measure(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    changes = {
        rule: attacks.ead(s3_cnn, images, labels, rule=rule, beta=0.01, steps=50,
                          initial_constant=1.0, binary_search_steps=4).images - images
        for rule in ("l1", "en")
    }  # fmt: skip
    l1 = {rule: distances(change, "l1").mean() for rule, change in changes.items()}
    en = {
        rule: (distances(change, "l2") ** 2 + 0.01 * distances(change, "l1")).mean()
        for rule, change in changes.items()
    }
    assert l1["l1"] < l1["en"] and en["en"] < en["l1"]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"rule": "l2"}, "rule must be one of l1, en, got 'l2'"),
        ({"beta": -1.0}, "beta must be >= 0, got -1"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"binary_search_steps": 0}, "binary_search_steps must be >= 1, got 0"),
        ({"initial_constant": 0.0}, "initial_constant must be >= 1e-12, got 0"),
    ],
)
def test_bad_options(trained: nn.Module, digits: Digits, options, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.ead(trained, digits[0][:2], digits[1][:2], **options)
