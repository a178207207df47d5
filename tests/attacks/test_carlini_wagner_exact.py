"""Carlini and Wagner in L2 and L∞ against exact answers: linear models, and the ends of the box."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import AttackResult, Norm
from armsrace.norms import distances

SEARCHES = (("l2", attacks.carlini_wagner_l2), ("linf", attacks.carlini_wagner_linf))
each = pytest.mark.parametrize(("norm", "attack"), SEARCHES, ids=["l2", "linf"])


def _linear() -> tuple[Tensor, Tensor, Tensor]:
    """Weights (10, 12), gray images (30, 1, 3, 4), and the labels that the linear model gives."""
    draws = torch.Generator().manual_seed(10)
    weights = torch.randn(10, 12, generator=draws, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(30, 1, 3, 4, generator=draws, dtype=torch.float64)
    return weights, images, (images.flatten(1) @ weights.T).argmax(dim=1)


def _feet(weights: Tensor, images: Tensor, labels: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """The distance (N, K) to each class's hyperplane, and bool: the attack's exact answer is it.

    The foot must be a point of the class, with no third one before it, and well in the box. One
    nearer than a few steps of Adam is left out, for the search sees no less than a step.
    """
    normals = weights - weights[labels][:, None]
    gaps = -torch.einsum("nkd,nd->nk", normals, images.flatten(1))
    along, size = (normals, 2) if norm == "l2" else (normals.sign(), 1)
    lengths = torch.linalg.vector_norm(normals, ord=size, dim=2)
    feet = images.flatten(1)[:, None] + along * (gaps / lengths**size)[..., None]
    logits = feet @ weights.T
    leads = logits.diagonal(dim1=1, dim2=2) >= logits.amax(dim=2) - 1e-9
    inside = ((feet > 0.05) & (feet < 0.95)).all(dim=2)
    return gaps / lengths, leads & inside & (gaps > 0.05 * lengths)


def _assert_near(found: AttackResult, images: Tensor, exact: Tensor, norm: Norm) -> None:
    """All succeed, never below |gap| / ‖w‖ (dual norm), above by 1 % or, for the ceilings, 6 %."""
    assert found.success.all()
    excess = distances(found.images - images, norm) / exact - 1
    worst = {"l2": 0.01, "linf": 0.06}[norm]
    assert excess.min() > -1e-9 and excess.max() < worst, f"{excess.min()} to {excess.max()}"


@each
def test_the_distance_is_that_of_the_hyperplane(norm: Norm, attack) -> None:
    weights, images, labels = _linear()
    exact, right = _feet(weights, images, labels, norm)
    places, targets = right.nonzero(as_tuple=True)
    assert len(places) >= 15
    images = images[places]
    found = attack(lambda x: x.flatten(1) @ weights.T, images, labels[places], targets=targets)
    _assert_near(found, images, exact[right], norm)


@each
def test_without_a_target_the_other_of_two_classes_is_reached(norm: Norm, attack) -> None:
    weights, images, _ = _linear()
    weights = weights[:2]
    labels = (images.flatten(1) @ weights.T).argmax(dim=1)
    exact = _feet(weights, images, labels, norm)[0].nan_to_num(0).amax(dim=1)
    found = attack(lambda batch: batch.flatten(1) @ weights.T, images, labels)
    _assert_near(found, images, exact, norm)


@each
def test_black_and_white_pixels_leave_the_ends_of_the_box(norm: Norm, attack) -> None:
    """Only inward steps help, and every pixel is at an end."""
    images = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).view(1, 1, 2, 2)
    weights = torch.tensor([1.0, 2.0, -1.0, -2.0], dtype=torch.float64)

    def model(batch: Tensor) -> Tensor:
        margin = (batch - images).flatten(1) @ weights - 0.9
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    found = attack(model, images, torch.tensor([0]))
    exact = 0.9 / torch.linalg.vector_norm(weights, ord={"l2": 2, "linf": 1}[norm])
    assert found.success.all() and (found.images != images).all()
    assert float(distances(found.images - images, norm)) == pytest.approx(float(exact), rel=0.06)
