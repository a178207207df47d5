"""One perturbation for all: exact on a linear model, and good for digits it has not seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.minimal.universal import universal_perturbation
from armsrace.contracts import Bounds, Norm
from armsrace.norms import distances
from tests.attacks.linear import linear, some_images

Digits = tuple[Tensor, Tensor]
WIDE = Bounds(-20, 20)
METHODS = ["deepfool", "ascent"]


@pytest.fixture
def straight() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear model, images of its class 1, the direction to class 0, and the distances."""
    model, images = linear(2), some_images(60)
    normal = model[1].weight.detach()  # type: ignore[index]
    normal = normal[0] - normal[1]
    with torch.no_grad():
        logits = model(images)
    gaps = (logits[:, 1] - logits[:, 0]) / normal.norm()
    order = gaps.argsort()[(gaps.sort().values > 0)]
    assert len(order) > 30
    return model, images[order], normal, gaps[order]


@pytest.mark.parametrize("method", METHODS)
def test_a_straight_boundary_is_crossed_along_its_normal(straight, method: str) -> None:
    model, images, normal, gaps = straight
    labels = torch.ones(len(images), dtype=torch.int64)
    epsilon = 1.05 * gaps[-1].item()
    found = universal_perturbation(
        model, images, labels, epsilon=epsilon, norm="l2", method=method, rate=1.0, bounds=WIDE
    )
    cosine = (found.flatten() @ normal) / found.norm() / normal.norm()
    assert cosine > 1 - 1e-9
    assert gaps[-1] < found.norm() <= epsilon * (1 + 1e-12)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.3), ("l2", 4.0)])
@pytest.mark.parametrize("method", METHODS)
def test_it_fools_digits_it_has_not_seen(
    s3_cnn: nn.Module, digits: Digits, norm: Norm, epsilon: float, method: str
) -> None:
    images = digits[0]
    with torch.no_grad():
        read = s3_cnn(images).argmax(dim=1)
    found = universal_perturbation(
        s3_cnn, images[:100], read[:100], epsilon=epsilon, norm=norm, method=method, passes=3
    )
    noise = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    noise = epsilon * (noise.sign() if norm == "linf" else noise / noise.norm())
    rates = []
    for change in (found, noise):
        with torch.no_grad():
            seen = s3_cnn((images[100:] + change).clamp(0, 1)).argmax(dim=1)
        rates.append((seen != read[100:]).double().mean())
    assert distances(found, norm) <= epsilon * (1 + 1e-6)
    assert rates[0] > 0.3 and rates[0] > 3 * rates[1]


@pytest.mark.parametrize("method", METHODS)
def test_the_attack_applies_the_perturbation(
    trained: nn.Module, digits: Digits, method: str
) -> None:
    task = trained, digits[0][:30], digits[1][:30]
    options: dict[str, Any] = {"epsilon": 0.2, "method": method, "passes": 2}
    found = universal_perturbation(*task, **options)
    assert found.shape == (1, 1, 28, 28) and found.abs().max() == pytest.approx(0.2, abs=1e-6)
    assert torch.equal(attacks.universal(*task, **options).images, (task[1] + found).clamp(0, 1))
    for seed, same in ((0, True), (1, False)):
        order = torch.Generator().manual_seed(seed)
        again = universal_perturbation(*task, **options, generator=order)
        assert torch.equal(found, again) == same


def test_it_stops_at_the_rate_and_keeps_the_best(trained: nn.Module, digits: Digits) -> None:
    task = trained, digits[0][:60], digits[1][:60]
    options: dict[str, Any] = {"epsilon": 6.0, "norm": "l2", "method": "ascent"}
    early = attacks.universal(*task, **options, rate=0.3)
    late = attacks.universal(*task, **options, rate=1.0)
    assert 0.3 <= early.success.double().mean() <= late.success.double().mean()
    assert early.gradients.max() < 10 and (late.gradients == 10).all()
    shares = [
        attacks.universal(*task, **options, rate=1.0, passes=count).success.double().mean()
        for count in (1, 10)
    ]
    assert shares[1] >= shares[0]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"norm": "l1"}, "norm must be one of linf, l2, got"),
        ({"method": "mean"}, "method must be one of deepfool, ascent, got"),
        ({"rate": -1.0}, "rate must be >= 0, got -1"),
        ({"passes": 0}, "passes must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
    ],
)
@pytest.mark.parametrize("attack", [attacks.universal, universal_perturbation])
def test_bad_options(trained: nn.Module, digits: Digits, attack, options, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attack(trained, digits[0][:2], digits[1][:2], **({"epsilon": 0.1} | options))
