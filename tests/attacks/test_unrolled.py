"""The gradient through a purifier's own optimization, where it is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armsrace.attacks.adaptive import estimated_gradient, unrolled
from armsrace.contracts import Bounds
from tests.attacks.linear import PIXELS, linear, slopes_of, some_images, some_labels

STEPS, RATE, PULL = 5, 0.2, 0.5


def ridge(images: Tensor, *, differentiable: bool = False) -> Tensor:
    """Gradient descent on ‖z − x‖² / 2 + PULL ‖z‖² / 2 from z = 0."""
    return _descend(lambda z: z, torch.zeros_like(images), images, differentiable)


def decoded(images: Tensor, *, differentiable: bool = False) -> Tensor:
    """The nearest image in the range of a small decoder: two numbers to eight pixels."""
    weights = torch.linspace(-2, 2, 2 * PIXELS, dtype=images.dtype).view(2, PIXELS)

    def decode(codes: Tensor) -> Tensor:
        return (codes @ weights).sigmoid().view_as(images)

    start = torch.full((len(images), 2), 0.1, dtype=images.dtype)
    return decode(_descend(decode, start, images, differentiable))


def _descend(decode, start: Tensor, images: Tensor, differentiable: bool) -> Tensor:
    with torch.enable_grad():
        codes = start.requires_grad_()
        for _ in range(STEPS):
            energy = (decode(codes) - images).square().sum() + PULL * codes.square().sum()
            (grad,) = torch.autograd.grad(energy / 2, codes, create_graph=differentiable)
            codes = codes - RATE * grad
    return codes if differentiable else codes.detach()


def test_the_gradient_of_a_quadratic_search_is_known() -> None:
    """Each step shrinks the way to x / (1 + PULL) by the factor 1 − RATE (1 + PULL)."""
    images = some_images(3)
    share = (1 - (1 - RATE * (1 + PULL)) ** STEPS) / (1 + PULL)
    torch.testing.assert_close(unrolled(ridge)(images), share * images)
    found = torch.autograd.functional.jacobian(unrolled(ridge), images[:1])
    expected = share * torch.eye(PIXELS, dtype=images.dtype)
    torch.testing.assert_close(found.view(PIXELS, PIXELS), expected)


def test_the_gradient_through_a_decoder_equals_finite_differences() -> None:
    images, labels = some_images(4), some_labels(4, 4)
    model, wide = linear(4), Bounds(-1, 2)
    found = slopes_of(lambda x: model(unrolled(decoded)(x)), images, labels)
    measured = estimated_gradient(lambda x: model(decoded(x)), spacing=1e-4, bounds=wide)
    assert found.norm() > 1e-3
    torch.testing.assert_close(found, slopes_of(measured, images, labels), rtol=1e-5, atol=1e-8)
    assert torch.equal(unrolled(decoded)(images), decoded(images))


def test_a_purifier_that_leaves_the_graph_is_refused() -> None:
    images = some_images(2)

    def cut(images: Tensor, *, differentiable: bool = False) -> Tensor:
        return decoded(images)

    assert unrolled(cut)(images).shape == images.shape
    with pytest.raises(ValueError, match="purifier must stay differentiable in its images"):
        unrolled(cut)(images.requires_grad_())
