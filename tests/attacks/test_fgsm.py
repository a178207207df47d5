"""FGSM where the worst case is known: linear models, and the ends of the box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from armsrace import attacks
from tests.attacks.linear import (
    PIXELS,
    SHAPE,
    corners,
    linear,
    loss_of,
    slopes_of,
    some_images,
    some_labels,
)


@pytest.mark.parametrize("epsilon", [0.01, 0.25, 2.0])
def test_fgsm_is_the_worst_case_of_a_linear_model_of_two_classes(epsilon: float) -> None:
    model, images, labels = linear(2), some_images(20), some_labels(20, 2)
    found = loss_of(model, attacks.fgsm(model, images, labels, epsilon=epsilon).images, labels)
    for image, label, reached in zip(images, labels, found, strict=True):
        # A convex loss is greatest at a corner of the box it is maximized over.
        worst = loss_of(model, corners(image, epsilon), label.expand(2**PIXELS)).max()
        assert reached == pytest.approx(float(worst), abs=1e-12)


def test_fgsm_maximizes_the_linearized_loss_of_ten_classes() -> None:
    model, images, labels = linear(10), some_images(20), some_labels(20, 10)
    found = attacks.fgsm(model, images, labels, epsilon=0.2).images
    slopes = slopes_of(model, images, labels)
    for image, slope, adversarial in zip(images, slopes, found, strict=True):
        best = ((corners(image, 0.2) - image) * slope).flatten(1).sum(dim=1).max()
        assert float(((adversarial - image) * slope).sum()) == pytest.approx(float(best))
    gained = loss_of(model, found, labels) - loss_of(model, images, labels)
    promised = ((found - images) * slopes).flatten(1).sum(dim=1)
    assert (gained >= promised - 1e-12).all(), "a convex loss lies above its tangent"


def test_fgsm_is_not_always_the_worst_case_of_ten_classes() -> None:
    """Why the claim of exactness stops at two classes."""
    model, images, labels = linear(10), some_images(200), some_labels(200, 10)
    found = loss_of(model, attacks.fgsm(model, images, labels, epsilon=0.5).images, labels)
    worst = torch.stack([
        loss_of(model, corners(image, 0.5), label.expand(2**PIXELS)).max()
        for image, label in zip(images, labels, strict=True)
    ])  # fmt: skip
    assert (found <= worst + 1e-12).all() and (found < worst - 1e-3).any()


@pytest.mark.parametrize("epsilon", [0.05, 0.7, 3.0, 20.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_l1_fgsm_is_the_optimum_of_the_linear_programme(epsilon: float, classes: int) -> None:
    model, images, labels = linear(classes), some_images(12), some_labels(12, classes)
    found = attacks.fgsm(model, images, labels, epsilon=epsilon, norm="l1").images
    slopes = slopes_of(model, images, labels)
    for image, slope, adversarial in zip(images, slopes, found, strict=True):
        # Variables: how far each pixel rises, then how far each falls.
        start, gain = image.flatten().numpy(), slope.flatten().numpy()
        ends = np.concatenate([1 - start, start])
        optimum = linprog(
            np.concatenate([-gain, gain]), A_ub=np.ones((1, 2 * PIXELS)), b_ub=[epsilon],
            bounds=list(zip(np.zeros(2 * PIXELS), ends, strict=True)),
        )  # fmt: skip
        assert float(((adversarial - image) * slope).sum()) == pytest.approx(-optimum.fun, abs=1e-9)
        assert float((adversarial - image).abs().sum()) <= epsilon + 1e-12


def test_l2_fgsm_is_exact_where_the_box_is_out_of_reach() -> None:
    model, labels = linear(2), some_labels(20, 2)
    images = 0.4 + 0.2 * some_images(20)
    found = attacks.fgsm(model, images, labels, epsilon=0.3, norm="l2").images
    slopes = slopes_of(model, images, labels).flatten(1)
    expected = images + 0.3 * (slopes / slopes.norm(dim=1, keepdim=True)).view_as(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for image, label, adversarial in zip(images, labels, found, strict=True):
        reference = minimize(
            lambda move, image=image, label=label: (
                -float(
                    loss_of(
                        model, image[None] + torch.from_numpy(move).view(1, *SHAPE), label[None]
                    )
                )
            ),
            np.full(PIXELS, 1e-3),
            constraints={"type": "ineq", "fun": lambda move: 0.09 - move @ move},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert float(loss_of(model, adversarial[None], label[None])) >= -reference.fun - 1e-7


def test_pixels_at_the_ends_of_the_box_leave_them_inwards_only() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).double()
    model[1].weight.data = torch.tensor([[0.0] * 4, [1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    images = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).view(1, 1, 2, 2)
    labels = torch.tensor([0])
    for norm, expected in (("linf", [0.3, 0.0, 1.0, 0.7]), ("l1", [0.3, 0.0, 1.0, 1.0])):
        found = attacks.fgsm(model, images, labels, epsilon=0.3, norm=norm).images
        moved = found.flatten().sort().values if norm == "l1" else found.flatten()
        wanted = torch.tensor(expected, dtype=torch.float64)
        wanted = wanted.sort().values if norm == "l1" else wanted
        torch.testing.assert_close(moved, wanted)
