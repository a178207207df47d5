"""SuperDeepFool is exact on a linear model and nearer than DeepFool on a network."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.contracts import Bounds
from tests.attacks.linear import two_classes

Digits = tuple[Tensor, Tensor]


@pytest.mark.parametrize("options", [{}, {"m": 1, "n": 1}, {"m": 2, "n": 3}])
def test_the_distance_is_exact_on_a_linear_model(options: dict[str, int]) -> None:
    model, images, labels, exact = two_classes("l2")
    for targets in (None, 1 - labels):
        found = attacks.superdeepfool(
            model, images, labels, targets=targets, overshoot=1e-4, bounds=Bounds(-20, 20),
            **options,
        )  # fmt: skip
        sizes = evaluation.perturbation_sizes(images, found, "l2")
        assert found.success.all()
        assert (sizes >= exact * (1 - 1e-9)).all()
        assert (sizes <= exact * 1.0002).all()


def test_it_is_nearer_than_deepfool(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:30], digits[1][:30]
    super_found = attacks.superdeepfool(s3_cnn, images, labels)
    found = attacks.deepfool(s3_cnn, images, labels)
    assert super_found.success.all()
    nearer, farther = (
        evaluation.median_distance(images, result, "l2") for result in (super_found, found)
    )
    assert nearer < 0.95 * farther


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"m": 0}, "m must be >= 1, got 0"),
        ({"n": 0}, "n must be >= 1, got 0"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"overshoot": -0.1}, "overshoot must be >= 0, got -0.1"),
        ({"binary_search_steps": -1}, "binary_search_steps must be >= 0, got -1"),
    ],
)
def test_bad_options(trained: nn.Module, digits: Digits, options, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.superdeepfool(trained, digits[0][:2], digits[1][:2], **options)
