"""BPDA: gradients past a purifier, against those worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.adaptive import bpda
from tests.attacks.linear import linear, slopes_of, some_images, some_labels

Digits = tuple[Tensor, Tensor]


def _binary(images: Tensor) -> Tensor:
    return (images > 0.5).to(images.dtype)


def _cubic(images: Tensor) -> Tensor:
    """A classifier whose gradient is another at each image."""
    return linear(4)(images**3)


def test_the_gradient_is_that_of_the_classifier_at_the_purified_image() -> None:
    images, labels = some_images(6), some_labels(6, 4)
    purifier = bpda(_binary)
    expected = slopes_of(_cubic, _binary(images), labels)
    assert expected.norm() > 0.1
    assert torch.equal(slopes_of(lambda x: _cubic(purifier(x)), images, labels), expected)
    assert torch.equal(purifier(images), _binary(images))


def test_a_stand_in_lends_its_gradient_and_no_value() -> None:
    """By the chain rule with g(x) = sin 3x: the classifier's gradient times 3 cos 3x."""
    images, labels = some_images(6), some_labels(6, 4)
    purifier = bpda(_binary, backward=lambda images: (3 * images).sin())
    expected = slopes_of(_cubic, _binary(images), labels) * 3 * (3 * images).cos()
    found = slopes_of(lambda x: _cubic(purifier(x)), images, labels)
    torch.testing.assert_close(found, expected)
    assert torch.equal(purifier(images), _binary(images))


@torch.inference_mode()
def _frozen(images: Tensor) -> Tensor:
    return images.round()


@pytest.mark.parametrize("purifier", [_frozen, torch.no_grad()(torch.round), lambda images: images])
def test_purifiers_may_run_without_a_graph(purifier: Any) -> None:
    images, labels = some_images(3), some_labels(3, 4)
    found = slopes_of(nn.Sequential(bpda(purifier), linear(4)), images, labels)
    torch.testing.assert_close(found, slopes_of(linear(4), purifier(images).clone(), labels))


def test_what_stops_pgd_does_not_stop_it_here(trained: nn.Module, digits: Digits) -> None:
    """Binarizing leaves PGD no gradient: it looks like a defense, until the break."""
    images, labels = digits[0][:100], digits[1][:100]

    def defended(images: Tensor) -> Tensor:
        return trained((images > 0.5) + 0 * images)

    with torch.no_grad():
        clean = (defended(images).argmax(dim=1) != labels).double().mean()
    blind = attacks.pgd(defended, images, labels, epsilon=0.45, steps=10, random_start=False)
    assert clean < 0.2 and blind.success.double().mean() == clean
    open_to_all = nn.Sequential(bpda(_binary), trained)
    seen = attacks.pgd(open_to_all, images, labels, epsilon=0.45, steps=10, random_start=False)
    assert seen.success.double().mean() > clean + 0.3
    with torch.no_grad():
        fooled = defended(seen.images).argmax(dim=1) != labels
    assert torch.equal(fooled, seen.success), "the break fools the defense itself"


def test_purifiers_that_change_shape_or_dtype_are_refused() -> None:
    images = some_images(2)
    with pytest.raises(ValueError, match=r"purifier must return torch.float64 of shape \(2, 1, 2"):
        bpda(lambda images: images[..., 1:])(images)
    with pytest.raises(ValueError, match=r"got torch.float32 of shape \(2, 1, 2, 4\)"):
        bpda(lambda images: images.float())(images)
