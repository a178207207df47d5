"""Float32 and float64 give the same answer where float32 can resolve it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.margins import cross_entropy
from armsrace.contracts import Bounds

from .cases import Case
from .specs import SPECS, AttackSpec


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_float64_agrees_with_float32(
    spec: AttackSpec, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    # Where p(label) is nearly 1, float32 rounds p − 1, and with it the gradient, by 6e-8 / loss.
    unsure = _loss(trained, *digits).topk(100).indices
    case = Case(trained, digits[0][unsure], digits[1][unsure], scale=0.5)
    single, double = case.run(spec), case.double().run(spec)
    assert single.images.dtype == torch.float32 and double.images.dtype == torch.float64
    # A sign of a gradient of rounding size may turn, and turn others in later steps: few do.
    apart = (single.images.double() - double.images).abs() > 1e-5
    assert apart.double().mean() < 1e-3, f"{int(apart.sum())} pixels differ"
    same = single.success == double.success
    assert same.double().mean() >= 0.98
    assert torch.equal(single.queries[same], double.queries[same])


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return cross_entropy(model(images), labels)


def test_float32_images_may_meet_a_bound_that_float32_does_not_have(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    bounds = Bounds(0.0, 0.1)
    images = 0.1 * digits[0][:10]
    assert images.max().double() > 0.1, "the float32 next to 0.1 is greater than 0.1"
    result = attacks.fgsm(trained, images, digits[1][:10], epsilon=0.05, bounds=bounds)
    again = attacks.fgsm(trained, result.images, digits[1][:10], epsilon=0.05, bounds=bounds)
    assert again.images.max() <= images.max()
