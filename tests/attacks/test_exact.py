"""Cases with an exact answer: linear models, the ends of the box, no budget at all."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.bim import kurakin_steps
from armsrace.attacks.margins import cross_entropy, margin

SHAPE = (1, 2, 4)
PIXELS = 8


def _linear(classes: int, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(PIXELS, classes).double()
    layer.weight.data = torch.randn(classes, PIXELS, generator=generator, dtype=torch.float64)
    layer.bias.data = torch.randn(classes, generator=generator, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), layer)


def _images(count: int, seed: int = 1) -> Tensor:
    """Some pixels at exactly 0 and 1, the others between."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(count, *SHAPE, generator=generator, dtype=torch.float64)
    return (1.6 * values - 0.3).clamp(0, 1)


def _labels(count: int, classes: int) -> Tensor:
    return torch.arange(count) % classes


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return cross_entropy(model(images), labels)


def _slopes(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    return torch.autograd.grad(cross_entropy(model(images), labels).sum(), images)[0]


def _corners(image: Tensor, epsilon: float) -> Tensor:
    """All the corners (256, 1, 2, 4) of the L∞ ball cut by the box."""
    signs = torch.tensor(list(product([-1.0, 1.0], repeat=PIXELS)), dtype=image.dtype)
    return (image + epsilon * signs.view(-1, *SHAPE)).clamp(0, 1)


@pytest.mark.parametrize("epsilon", [0.01, 0.25, 2.0])
def test_fgsm_is_the_worst_case_of_a_linear_model_of_two_classes(epsilon: float) -> None:
    model, images, labels = _linear(2), _images(20), _labels(20, 2)
    found = _loss(model, attacks.fgsm(model, images, labels, epsilon=epsilon).images, labels)
    for image, label, reached in zip(images, labels, found, strict=True):
        # A convex loss is greatest at a corner of the box it is maximised over.
        corners = _corners(image, epsilon)
        worst = _loss(model, corners, label.expand(len(corners))).max()
        assert reached == pytest.approx(float(worst), abs=1e-12)


def test_fgsm_maximises_the_linearised_loss_of_ten_classes() -> None:
    model, images, labels = _linear(10), _images(20), _labels(20, 10)
    found = attacks.fgsm(model, images, labels, epsilon=0.2).images
    slopes = _slopes(model, images, labels)
    for image, slope, adversarial in zip(images, slopes, found, strict=True):
        best = ((_corners(image, 0.2) - image) * slope).flatten(1).sum(dim=1).max()
        assert float(((adversarial - image) * slope).sum()) == pytest.approx(float(best))
    gained = _loss(model, found, labels) - _loss(model, images, labels)
    promised = ((found - images) * slopes).flatten(1).sum(dim=1)
    assert (gained >= promised - 1e-12).all(), "a convex loss lies above its tangent"


def test_fgsm_is_not_always_the_worst_case_of_ten_classes() -> None:
    """Why the claim of exactness stops at two classes."""
    model, images, labels = _linear(10), _images(200), _labels(200, 10)
    found = _loss(model, attacks.fgsm(model, images, labels, epsilon=0.5).images, labels)
    worst = torch.stack([
        _loss(model, _corners(image, 0.5), label.expand(2**PIXELS)).max()
        for image, label in zip(images, labels, strict=True)
    ])  # fmt: skip
    assert (found <= worst + 1e-12).all() and (found < worst - 1e-3).any()


@pytest.mark.parametrize("epsilon", [0.05, 0.7, 3.0, 20.0])
@pytest.mark.parametrize("classes", [2, 10])
def test_l1_fgsm_is_the_optimum_of_the_linear_programme(epsilon: float, classes: int) -> None:
    model, images, labels = _linear(classes), _images(12), _labels(12, classes)
    found = attacks.fgsm(model, images, labels, epsilon=epsilon, norm="l1").images
    slopes = _slopes(model, images, labels)
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
    model, labels = _linear(2), _labels(20, 2)
    images = 0.4 + 0.2 * _images(20)
    found = attacks.fgsm(model, images, labels, epsilon=0.3, norm="l2").images
    slopes = _slopes(model, images, labels).flatten(1)
    expected = images + 0.3 * (slopes / slopes.norm(dim=1, keepdim=True)).view_as(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for image, label, adversarial in zip(images, labels, found, strict=True):
        reference = minimize(
            lambda move, image=image, label=label: (
                -float(
                    _loss(model, image[None] + torch.from_numpy(move).view(1, *SHAPE), label[None])
                )
            ),
            np.full(PIXELS, 1e-3),
            constraints={"type": "ineq", "fun": lambda move: 0.09 - move @ move},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert float(_loss(model, adversarial[None], label[None])) >= -reference.fun - 1e-7


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


def test_pgd_reaches_the_exact_worst_case_of_a_linear_model() -> None:
    model, images, labels = _linear(2), _images(20), _labels(20, 2)
    exact = attacks.fgsm(model, images, labels, epsilon=0.2).images
    for found in (
        attacks.pgd(model, images, labels, epsilon=0.2, steps=20),
        attacks.bim(model, images, labels, epsilon=0.2, step_size=0.05),
        attacks.momentum(model, images, labels, epsilon=0.2, steps=5),
    ):
        # Pixels that the loss does not depend on are the only ones that may differ: none here.
        torch.testing.assert_close(found.images, exact, rtol=0, atol=1e-12)


def test_targets_turn_the_step_round() -> None:
    model, images, labels = _linear(2), _images(10), _labels(10, 2)
    towards = attacks.fgsm(model, images, labels, epsilon=0.2, targets=1 - labels).images
    away = attacks.fgsm(model, images, labels, epsilon=0.2).images
    assert torch.equal(towards, away), "with two classes, away from one is towards the other"


def test_rand_fgsm_keeps_the_rest_of_the_budget_for_the_gradient() -> None:
    model, labels = _linear(2), _labels(20, 2)
    images = 0.4 + 0.2 * _images(20)
    found = attacks.rand_fgsm(model, images, labels, epsilon=0.3, alpha=0.1).images
    sizes = (found - images).abs()
    # The two steps add up or cancel, pixel by pixel: 0.2 + 0.1 or 0.2 - 0.1.
    assert (
        torch.isclose(sizes, torch.tensor(0.3).double())
        .logical_or(torch.isclose(sizes, torch.tensor(0.1).double()))
        .all()
    )
    assert 0.35 < float((sizes > 0.2).double().mean()) < 0.65


def test_kurakin_counts_steps_in_grey_levels() -> None:
    for epsilon in range(1, 256):
        exact = max(1, int(min(epsilon + 4, 1.25 * epsilon)))
        assert kurakin_steps(epsilon / 255) == exact
    model, images = _linear(2), _images(1)
    result = attacks.bim(model, images, torch.tensor([0]), epsilon=16 / 255)
    assert result.gradients.tolist() == [20]


def test_least_likely_targets_the_least_likely_class(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0][:50], digits[1][:50]
    with torch.no_grad():
        targets = trained(images).argmin(dim=1)
    least = attacks.least_likely(trained, images, labels, epsilon=0.3, step_size=0.03)
    toward = attacks.bim(trained, images, labels, epsilon=0.3, step_size=0.03, targets=targets)
    assert torch.equal(least.images, toward.images)
    assert torch.equal(least.success, toward.success) and least.success.any()
    assert torch.equal(least.queries, toward.queries + 1)


def test_momentum_sums_gradients_of_length_one() -> None:
    """Against Algorithm 1 of Dong et al. written out for one image."""
    model, image, label = _linear(10), _images(1), torch.tensor([3])
    current, running = image.clone(), torch.zeros_like(image)
    for _ in range(4):
        slope = _slopes(model, current, label)
        running = 0.9 * running + slope / slope.abs().sum()
        current = (image + (current + 0.05 * running.sign() - image).clamp(-0.2, 0.2)).clamp(0, 1)
    found = attacks.momentum(model, image, label, epsilon=0.2, steps=4, decay=0.9).images
    torch.testing.assert_close(found, current, rtol=0, atol=1e-12)


def test_margin_ignores_the_own_logit_even_where_all_are_negative() -> None:
    logits = torch.tensor([[-5.0, -1.0, -3.0], [-5.0, -1.0, -3.0]])
    assert margin(logits, torch.tensor([1, 0])).tolist() == [-2.0, 4.0]
