"""DDN reaches the boundary of a linear model, rounds, and goes no further than Foolbox's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.contracts import Bounds
from armsrace.losses import cross_entropy, log_odds
from tests.attacks.linear import two_classes

Digits = tuple[Tensor, Tensor]


@pytest.mark.parametrize("aimed", [False, True])
def test_it_finds_the_boundary_of_a_linear_model(aimed: bool) -> None:
    """With two classes the way is straight; the last step of the radius leaves it gamma off."""
    model, images, labels, exact = two_classes("l2")
    targets = 1 - labels if aimed else None
    found = attacks.ddn(model, images, labels, targets=targets, gamma=0.01, steps=300,
                        bounds=Bounds(-2, 3))  # fmt: skip
    sizes = evaluation.perturbation_sizes(images, found, "l2")
    assert found.success.all()
    assert (sizes >= exact * (1 - 1e-9)).all()
    assert (sizes <= exact * 1.021).all()


def test_the_direction_is_that_of_the_cross_entropy(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:50].double(), digits[1][:50]
    model = copy.deepcopy(trained).double()
    slopes = []
    for loss in (cross_entropy, log_odds):
        moving = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(model(moving), labels).sum(), moving)
        slopes.append(nn.functional.normalize(slope.flatten(1), dim=1))
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-8)


def test_a_sure_model_does_not_stop_it(s3_cnn: nn.Module, digits: Digits) -> None:
    """A thousandfold logits leave float32 no gradient of the cross-entropy, yet the same images."""
    images, labels = digits[0][:20], digits[1][:20]

    def sure(batch: Tensor) -> Tensor:
        return 1000 * s3_cnn(batch)

    moving = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(cross_entropy(sure(moving), labels).sum(), moving)
    assert (slope.flatten(1).abs().amax(dim=1) == 0).double().mean() > 0.5
    assert attacks.ddn(sure, images, labels, steps=30).success.all()


def test_levels_are_kept(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    fine = attacks.ddn(s3_cnn, images, labels, steps=40)
    coarse = attacks.ddn(s3_cnn, images, labels, steps=40, levels=16)
    steps = coarse.images * 15
    assert coarse.success.all()
    moved = (coarse.images != images).flatten(1).any(dim=1)
    assert moved.any() and (steps - steps.round())[moved].abs().max() < 1e-4
    free, held = (evaluation.median_distance(images, found, "l2") for found in (fine, coarse))
    assert free < held < 2 * free


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"init_epsilon": 0.0}, "init_epsilon must be >= 1e-06, got 0"),
        ({"gamma": -0.1}, "gamma must be >= 0, got -0.1"),
        ({"gamma": 1.0}, "gamma must be < 1, got 1"),
        ({"levels": 1}, "levels must be >= 2, got 1"),
    ],
)
def test_bad_options(trained: nn.Module, digits: Digits, options, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.ddn(trained, digits[0][:2], digits[1][:2], **options)
