"""What the comparisons with other libraries share."""

from __future__ import annotations

import copy

import pytest
from torch import nn

from tests.attacks.peers import Digits, Exact, slopes

COUNT = 64


@pytest.fixture(scope="session")
def some(digits: Digits) -> Digits:
    return digits[0][:COUNT], digits[1][:COUNT]


@pytest.fixture(scope="session")
def exact(s3_cnn: nn.Module, digits: Digits) -> Exact:
    """Network, 32 images and labels in float64, none of the images with a vanishing gradient."""
    model = copy.deepcopy(s3_cnn).double()
    images, labels = digits[0][:200].double(), digits[1][:200]
    chosen = (slopes(model, images, labels).flatten(1).norm(dim=1) > 1e-9).nonzero()[:32, 0]
    assert len(chosen) == 32
    return model, images[chosen], labels[chosen]
