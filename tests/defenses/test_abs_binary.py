"""Binary ABS and the nearest neighbor: what each does to pixels, costs and distances."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional

from armsrace.defenses import (
    AnalysisBySynthesis,
    Binarized,
    ClassWeighted,
    NearestNeighbor,
    Purified,
    fitted_factors,
)
from tests.defenses.linear_classes import LinearClasses, some_images


def test_binary_abs_explains_black_and_white_and_weighs_classes() -> None:
    model = AnalysisBySynthesis(LinearClasses(), inference="exact", samples=20)
    factors = torch.tensor([1.0, 0.9, 1.2])
    images = some_images(4)
    binary = Purified(Binarized(), ClassWeighted(model, factors))
    expected = model((images > 0.5).double()) * factors
    torch.testing.assert_close(binary(images), expected)
    assert torch.equal(Binarized(0.3)(images).unique(), torch.tensor([0.0, 1.0]).double())
    assert Binarized()(torch.tensor([0.5])).item() == 0


def test_fitted_factors_are_the_best_by_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (400,), generator=generator)
    costs = 10 + 4 * torch.rand(400, 3, generator=generator)
    costs[torch.arange(400), labels] -= 2
    costs *= torch.tensor([1.0, 1.3, 0.8])
    factors = fitted_factors(costs, labels)
    assert factors.log().mean().item() == pytest.approx(0, abs=1e-5)
    right = (-costs * factors).argmax(dim=1) == labels
    assert right.float().mean() > ((-costs).argmax(dim=1) == labels).float().mean() + 0.2
    assert (factors / factors[0] / torch.tensor([1, 1 / 1.3, 1 / 0.8]) - 1).abs().max() < 0.1

    def loss(scaled: torch.Tensor) -> float:
        return functional.cross_entropy(-costs * scaled, labels).item()

    # Their ratios are the best: a common factor is the temperature.
    least, best = min((loss(t * factors), t) for t in torch.linspace(0.1, 5, 200))
    for row in range(3):
        for other in (0.97, 1.03):
            changed = factors.clone()
            changed[row] *= other
            assert min(loss(t * changed) for t in (0.98 * best, best, 1.02 * best)) > least - 1e-4


def test_the_nearest_neighbor_is_found_class_by_class() -> None:
    images, labels = some_images(12), torch.arange(12) % 3
    model, asked = NearestNeighbor(images, labels, batch_size=2), some_images(17)[12:]
    distances = (asked[:, None] - images[None]).flatten(2).square().sum(dim=2)
    expected = torch.stack([distances[:, labels == k].amin(dim=1) for k in range(3)], dim=1)
    torch.testing.assert_close(model(asked), -expected)
    assert torch.equal(model(images).argmax(dim=1), labels)
    variable = asked.clone().requires_grad_()
    grad = torch.autograd.grad(model(variable)[:, 1].sum(), variable)[0]
    torch.testing.assert_close(grad, -2 * (asked - model.nearest(asked)[:, 1]))
    assert not model.state_dict()


def test_bad_input_is_named() -> None:
    model = AnalysisBySynthesis(LinearClasses(), samples=5)
    images = some_images(2)
    for call, rule in (
        (lambda: Binarized(1.0), "threshold must lie in (0, 1), got 1"),
        (lambda: ClassWeighted(model, torch.ones(2)), "factors must have shape (3,), got (2,)"),
        (lambda: ClassWeighted(model, torch.zeros(3)), "factors must be > 0, got 0"),
        (lambda: fitted_factors(torch.ones(2, 3), torch.tensor([0, 3])), "labels must be < 3"),
        (lambda: NearestNeighbor(images, torch.tensor([0, 2])), "labels must hold every class"),
    ):
        with pytest.raises(ValueError, match=re.escape(rule)):
            call()
