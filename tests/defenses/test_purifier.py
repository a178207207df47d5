"""The composition that purifying defenses share."""

import pytest
import torch
from torch import nn

from armsrace import attacks
from armsrace.attacks.adaptive import bpda
from armsrace.defenses import Purified


class Rounded(nn.Module):
    """Black or white: no gradient."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.round()


@pytest.fixture
def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_classifies_what_was_purified(classifier, images) -> None:
    model = Purified(Rounded(), classifier)
    assert torch.equal(model.purify(images), images.round())
    assert torch.equal(model(images), classifier(images.round()))


def test_mode_reaches_both_parts(classifier) -> None:
    model = Purified(nn.Dropout(), classifier).eval()
    assert not any(part.training for part in model.modules())


def test_another_shape_is_refused(classifier, images) -> None:
    model = Purified(nn.MaxPool2d(2), classifier)
    with pytest.raises(ValueError, match=r"purifier must return shape \(5, 1, 4, 4\), got"):
        model(images)


def test_attacks_run_through_it_and_around_it(classifier, images) -> None:
    labels = Purified(Rounded(), classifier)(images).argmax(1)
    hidden = Purified(Rounded(), classifier)
    opened = Purified(bpda(Rounded()), classifier)
    assert not attacks.fgsm(hidden, images, labels, epsilon=0.4).success.any()
    found = attacks.pgd(opened, images, labels, epsilon=0.4, steps=20)
    assert found.success.any()
    assert torch.equal(hidden(found.images).argmax(1) != labels, found.success)
