"""ALMA finds the boundary of a linear model in both norms, and needs no more than two classes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.attacks.minimal.alma import _multiplier, _p2
from armsrace.contracts import Bounds, Norm
from tests.attacks.linear import linear, some_images


@pytest.mark.parametrize(("norm", "dual", "slack"), [("l2", 2, 1.01), ("l1", torch.inf, 1.2)])
@pytest.mark.parametrize(
    ("classes", "aimed"), [(2, False), (3, False), (10, False), (2, True), (3, True)]
)
def test_the_distance_is_almost_exact_on_a_linear_model(
    norm: Norm, dual: float, slack: float, classes: int, aimed: bool
) -> None:
    """Without targets, where the box is far, the nearest class decides."""
    model, images = linear(classes), some_images(40)
    with torch.no_grad():
        logits = model(images)
    labels, weight = logits.argmax(dim=1), model[1].weight.detach()  # type: ignore[index]
    gaps = logits.gather(1, labels[:, None]) - logits
    lengths = torch.linalg.vector_norm(weight[labels][:, None] - weight, ord=dual, dim=2)
    each = (gaps / lengths).scatter(1, labels[:, None], torch.inf)
    targets = (labels + 1) % classes if aimed else None
    # With a target other classes may be in between: the distance is a lower bound.
    exact = each.amin(dim=1) if targets is None else each.gather(1, targets[:, None])[:, 0]
    found = attacks.alma(
        model, images, labels, norm=norm, targets=targets, steps=500, bounds=Bounds(-2, 3)
    )
    sizes = evaluation.perturbation_sizes(images, found, norm)
    assert found.success.all()
    assert (sizes >= exact * (1 - 1e-9)).all()
    if not aimed or classes == 2:
        assert (sizes <= slack * exact + 1e-3).double().mean() >= 0.9


def test_another_box_finds_the_same_images(
    s3_cnn: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    model = copy.deepcopy(s3_cnn).double()
    images, labels = digits[0][:5].double(), digits[1][:5]
    unit = attacks.alma(model, images, labels, steps=30)
    wide = attacks.alma(
        lambda x: model(x / 256), images * 256, labels, steps=30, bounds=Bounds(0, 256)
    )
    assert unit.success.all() and wide.success.all()
    torch.testing.assert_close(wide.images / 256, unit.images, rtol=0, atol=1e-6)


def test_the_penalty_has_one_derivative() -> None:
    """P₂ is differentiable at y = 0, where its two branches meet with the slope μ."""
    rho, mu = torch.tensor([2.0]), torch.tensor([3.0])
    for y in (-1e-7, 0.0, 1e-7):
        assert float(_multiplier(torch.tensor([y]), rho, mu)) == pytest.approx(3.0, abs=1e-5)
    assert float(_p2(torch.tensor([0.0]), rho, mu)) == 0


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"norm": "linf"}, "norm must be one of l2, l1"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"init_epsilon": 0.0}, "init_epsilon must be >= 1e-06, got 0"),
        ({"alpha": 1.0}, "alpha must be < 1, got 1"),
        ({"last_step": 0.0}, "last_step must be >= 1e-06, got 0"),
    ],
)
def test_bad_options(trained: nn.Module, digits: tuple[Tensor, Tensor], options, rule) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.alma(trained, digits[0][:2], digits[1][:2], **options)
