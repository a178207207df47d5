"""Float32 and float64 give the same answer where float32 can resolve it, else one as good."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Bounds
from armsrace.losses import cross_entropy
from armsrace.norms import distances
from tests.attacks.cases import Case
from tests.attacks.specs import SPECS, AttackSpec


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_float64_agrees_with_float32(
    spec: AttackSpec, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    # Where p(label) is nearly 1, float32 rounds p − 1, and with it the gradient, by 6e-8 / loss.
    unsure = _loss(trained, *digits).topk(50).indices
    case = Case(trained, digits[0][unsure], digits[1][unsure], scale=0.5)
    single, double = case.run(spec), case.double().run(spec)
    assert single.images.dtype == torch.float32 and double.images.dtype == torch.float64
    sizes, doubles = (
        distances(r.images.double() - case.images, spec.norm) for r in (single, double)
    )
    gaps = sizes - doubles  # Paired: equal up to 2 %, or up to what 50 images can tell.
    chance = 3 * float(gaps.std()) / len(gaps) ** 0.5
    assert abs(float(gaps.mean())) <= max(0.02 * float(doubles.mean()), chance)
    assert (single.success == double.success).double().mean() >= 0.9
    if spec.shared:
        return  # One perturbation for all: one decision at rounding size turns every image.
    # A finite difference enlarges rounding a thousandfold. A step that a sign or a comparison of
    # rounding size decides turns otherwise, which some images meet and most do not.
    same = (single.images.double() - double.images).abs().flatten(1).amax(dim=1) < 1e-3
    assert same.double().mean() >= 0.6, f"{int((~same).sum())} of {len(same)} images differ"
    assert torch.equal(single.success[same], double.success[same])
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
