"""Estimated gradients: exact where they should be, right in the mean, counted to the image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.adaptive import estimated_gradient
from armsrace.contracts import Bounds
from tests.attacks.cases import Counting
from tests.attacks.linear import PIXELS, linear, some_images

WIDE = Bounds(-50, 50)
ESTIMATORS = ("coordinate", "spsa", "nes")
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
Digits = tuple[Tensor, Tensor]


def _gradient(model: Callable[[Tensor], Tensor], images: Tensor, grad_logits: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    return torch.autograd.grad((model(images) * grad_logits).sum(), images)[0]


def _grad_logits(count: int, classes: int) -> Tensor:
    draws = torch.Generator().manual_seed(3)
    return torch.randn(count, classes, generator=draws, dtype=torch.float64)


def _quadratic(images: Tensor) -> Tensor:
    """Three logits, each a quadratic form with cross terms."""
    draws = torch.Generator().manual_seed(5)
    forms = torch.randn(3, PIXELS, PIXELS, generator=draws, dtype=torch.float64)
    flat = images.flatten(1)
    return torch.einsum("ni,kij,nj->nk", flat, forms, flat)


def test_coordinates_are_exact_on_a_linear_model_at_the_box_too() -> None:
    model, images = linear(4), some_images(6)
    assert (images == 0).any() and (images == 1).any()
    grad_logits = _grad_logits(6, 4)
    found = _gradient(estimated_gradient(model, spacing=0.3), images, grad_logits)
    torch.testing.assert_close(found, _gradient(model, images, grad_logits), rtol=1e-10, atol=1e-10)


def test_coordinates_are_exact_on_a_quadratic_model() -> None:
    images, grad_logits = some_images(6), _grad_logits(6, 3)
    estimated = estimated_gradient(_quadratic, spacing=0.7, bounds=WIDE)
    found = _gradient(estimated, images, grad_logits)
    torch.testing.assert_close(
        found, _gradient(_quadratic, images, grad_logits), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("estimator", ["spsa", "nes"])
@pytest.mark.parametrize("spacing", [0.05, 0.5])
def test_random_directions_are_right_in_the_mean(estimator: Any, spacing: float) -> None:
    """Also for pixels at the ends of the box, which cut half of their probes short."""
    model, images, grad_logits = linear(4), some_images(6), _grad_logits(6, 4)
    expected = _gradient(model, images, grad_logits)
    errors = []
    for samples in (400, 40_000):
        estimated = estimated_gradient(model, estimator=estimator, samples=samples, spacing=spacing)
        errors.append((_gradient(estimated, images, grad_logits) - expected).norm().item())
    # A hundred times the samples: a tenth of the error, where there is no bias.
    assert errors[1] < 0.03 * expected.norm()
    assert errors[1] < 0.25 * errors[0]


@each_estimator
def test_logits_are_those_of_the_model(estimator: Any, model: nn.Module, digits: Digits) -> None:
    estimated = estimated_gradient(model, estimator=estimator)
    assert torch.equal(estimated(digits[0][:5]), model(digits[0][:5]))
    assert estimated.queries == 5


@each_estimator
@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_every_image_sent_is_counted(estimator: Any, batch_size: int) -> None:
    counting, images = Counting(linear(4)), some_images(3)
    estimated = estimated_gradient(counting, estimator=estimator, samples=5, batch_size=batch_size)
    _gradient(estimated, images, _grad_logits(3, 4))
    each = 2 * (PIXELS if estimator == "coordinate" else 5)
    assert estimated.cost(images) == each
    assert estimated.queries == counting.forwards == 3 + 3 * each
    assert counting.backwards == 0


@each_estimator
def test_batch_size_changes_nothing(estimator: Any) -> None:
    images, grad_logits = some_images(3), _grad_logits(3, 3)
    found = [
        _gradient(
            estimated_gradient(_quadratic, estimator=estimator, batch_size=size),
            images,
            grad_logits,
        )
        for size in (1, 10, 10_000)
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-9)


def test_no_probe_leaves_the_box() -> None:
    def guarded(images: Tensor) -> Tensor:
        assert images.min() >= 0 and images.max() <= 1
        return linear(4)(images)

    for estimator in ESTIMATORS:
        estimated = estimated_gradient(guarded, estimator=estimator, spacing=0.4)  # type: ignore[arg-type]
        assert _gradient(estimated, some_images(3), _grad_logits(3, 4)).isfinite().all()


def test_a_jacobian_costs_no_more_than_a_gradient() -> None:
    """DeepFool asks for the gradient of each of the K logits: the probes serve all."""
    model, images = linear(4), some_images(3)
    estimated = estimated_gradient(model, spacing=0.1, bounds=WIDE)
    labels = model(images).argmax(dim=1)
    found = attacks.deepfool(estimated, images, labels, steps=1, bounds=WIDE)
    exact = attacks.deepfool(model, images, labels, steps=1, bounds=WIDE)
    torch.testing.assert_close(found.images, exact.images, rtol=1e-8, atol=1e-8)
    assert found.success.all()
    assert estimated.queries == int(found.queries.sum()) + 3 * 2 * PIXELS


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"estimator": "forward"}, "estimator must be one of coordinate, spsa, nes"),
        ({"samples": 0}, "samples must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"spacing": 0.0}, "spacing must be > 0, got 0"),
        ({"spacing": math.nan}, "spacing must be > 0, got nan"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        estimated_gradient(linear(4), **options)


def test_images_outside_the_box_are_refused() -> None:
    estimated = estimated_gradient(linear(4))
    with pytest.raises(ValueError, match="images must lie in"):
        estimated(some_images(2) + 1)
