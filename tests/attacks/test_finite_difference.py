"""Attacks along estimated gradients: where these are exact, and where there are no others."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks
from armsrace.attacks.adaptive import estimated_gradient
from tests.attacks.linear import SHAPE

Digits = tuple[Tensor, Tensor]


def test_a_confident_model_still_shows_its_gradient() -> None:
    """Where p(label) rounds to 1 the loss is 0 on both sides of the image; the logits differ."""
    weights = 10 * torch.eye(2).repeat_interleave(4, dim=1)

    def sure(images: Tensor) -> Tensor:
        return images.flatten(1) @ weights.T

    image = torch.tensor([1.0] * 4 + [0.0] * 4).view(1, *SHAPE)
    label = torch.tensor([0])
    assert functional.cross_entropy(sure(image - 0.01), label) == 0
    found = attacks.finite_difference(
        sure,
        image,
        label,
        epsilon=0.6,
        steps=3,
        step_size=0.6,
        estimator="coordinate",
        spacing=0.01,
    )
    assert found.success.all()


def test_more_directions_point_better_and_beat_fewer(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:60], digits[1][:60]
    fractions = [
        attacks.finite_difference(
            trained, images, labels, epsilon=0.2, steps=3, samples=samples
        ).success.double().mean()
        for samples in (5, 300)
    ]  # fmt: skip
    exact = attacks.pgd(trained, images, labels, epsilon=0.2, steps=3, random_start=False)
    assert fractions[0] + 0.3 < fractions[1] <= exact.success.double().mean() + 0.05


def test_the_attack_on_coordinates_is_pgd(trained: nn.Module, digits: Digits) -> None:
    """In float64 and with close probes: the same images, for queries in place of gradients."""
    model = copy.deepcopy(trained).double()
    images, labels = digits[0][:3].double(), digits[1][:3]
    options = {"epsilon": 2.0, "norm": "l2", "steps": 2}
    found = attacks.finite_difference(
        model, images, labels, estimator="coordinate", spacing=1e-7, **options
    )
    exact = attacks.pgd(model, images, labels, random_start=False, **options)
    torch.testing.assert_close(found.images, exact.images, rtol=0, atol=1e-5)
    assert (found.queries == 2 * (1 + 2 * 784) + 1).all() and (found.gradients == 0).all()


def test_wide_probes_look_across_a_staircase(trained: nn.Module, digits: Digits) -> None:
    """Of pixels in sixteen gray levels the gradient is zero everywhere."""

    def stairs(images: Tensor) -> Tensor:
        return trained((15 * images).round() / 15)

    images, labels = digits[0][:20], digits[1][:20]
    blind = attacks.fgsm(stairs, images, labels, epsilon=0.2)
    assert torch.equal(blind.images, images) and blind.success.float().mean() < 0.2
    seen = attacks.fgsm(estimated_gradient(stairs), images, labels, epsilon=0.2)
    nearest = attacks.deepfool(estimated_gradient(stairs), images[:5], labels[:5])
    assert seen.success.float().mean() > 0.7 and nearest.success.float().mean() > 0.7
