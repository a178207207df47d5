"""The iterated and randomized attacks where the answer is known or can be written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.gradient.bim import kurakin_steps
from armsrace.losses import margin
from tests.attacks.linear import linear, slopes_of, some_images, some_labels


def test_pgd_reaches_the_exact_worst_case_of_a_linear_model() -> None:
    model, images, labels = linear(2), some_images(20), some_labels(20, 2)
    exact = attacks.fgsm(model, images, labels, epsilon=0.2).images
    for found in (
        attacks.pgd(model, images, labels, epsilon=0.2, steps=20),
        attacks.bim(model, images, labels, epsilon=0.2, step_size=0.05),
        attacks.mi_fgsm(model, images, labels, epsilon=0.2, steps=5),
    ):
        # Pixels that the loss does not depend on are the only ones that may differ: none here.
        torch.testing.assert_close(found.images, exact, rtol=0, atol=1e-12)


def test_targets_turn_the_step_round() -> None:
    model, images, labels = linear(2), some_images(10), some_labels(10, 2)
    toward = attacks.fgsm(model, images, labels, epsilon=0.2, targets=1 - labels).images
    away = attacks.fgsm(model, images, labels, epsilon=0.2).images
    assert torch.equal(toward, away), "with two classes, away from one is toward the other"


def test_rand_fgsm_keeps_the_rest_of_the_budget_for_the_gradient() -> None:
    model, labels = linear(2), some_labels(20, 2)
    images = 0.4 + 0.2 * some_images(20)
    found = attacks.rand_fgsm(model, images, labels, epsilon=0.3, alpha=0.1).images
    sizes = (found - images).abs()
    # The two steps add up or cancel, pixel by pixel: 0.2 + 0.1 or 0.2 - 0.1.
    assert (
        torch.isclose(sizes, torch.tensor(0.3).double())
        .logical_or(torch.isclose(sizes, torch.tensor(0.1).double()))
        .all()
    )
    assert 0.35 < float((sizes > 0.2).double().mean()) < 0.65


def test_kurakin_counts_steps_in_gray_levels() -> None:
    for epsilon in range(1, 256):
        exact = max(1, int(min(epsilon + 4, 1.25 * epsilon)))
        assert kurakin_steps(epsilon / 255) == exact
    model, images = linear(2), some_images(1)
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
    model, image, label = linear(10), some_images(1), torch.tensor([3])
    current, running = image.clone(), torch.zeros_like(image)
    for _ in range(4):
        slope = slopes_of(model, current, label)
        running = 0.9 * running + slope / slope.abs().sum()
        current = (image + (current + 0.05 * running.sign() - image).clamp(-0.2, 0.2)).clamp(0, 1)
    found = attacks.mi_fgsm(model, image, label, epsilon=0.2, steps=4, decay=0.9).images
    torch.testing.assert_close(found, current, rtol=0, atol=1e-12)


def test_margin_ignores_the_own_logit_even_where_all_are_negative() -> None:
    logits = torch.tensor([[-5.0, -1.0, -3.0], [-5.0, -1.0, -3.0]])
    assert margin(logits, torch.tensor([1, 0])).tolist() == [-2.0, 4.0]
