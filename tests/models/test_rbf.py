"""Quadratic units are the formula, sure at a center and unsure far from all."""

import torch

from armsrace.models.classifiers import QuadraticUnits, rbf


def test_logits_are_the_quadratic_form() -> None:
    units = QuadraticUnits(6, 3)
    with torch.no_grad():
        units.centers.normal_()
        units.log_precisions.normal_()
    features = torch.rand(4, 6)
    away = features[:, None] - units.centers
    expected = -(away.square() * units.log_precisions.exp()).sum(dim=2)
    assert torch.allclose(units(features), expected, atol=1e-5)


def test_confidence_is_one_at_a_center_and_none_far_away() -> None:
    network = rbf()
    units = network[1]
    centers = units.centers.detach().view(10, 1, 28, 28)
    assert torch.allclose(network(centers).diagonal().exp(), torch.ones(10), atol=1e-4)
    assert network(20 + centers).exp().max() < 1e-6
