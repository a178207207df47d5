"""On a line between two classes of a linear model the first adversarial point is known."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from armsrace import attacks

IMAGES = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]).double().view(3, 1, 1, 2)
LABELS = torch.tensor([0, 0, 0])


def model(images: Tensor) -> Tensor:
    """Class 0, 1 or 2 by the first pixel, the second, or neither: logits far from summing to 1."""
    flat = images.flatten(1) * 10
    return torch.cat([flat, torch.full_like(flat[:, :1], 1.0)], dim=1)


def explain(images: Tensor) -> Tensor:
    """The same three images whatever is asked."""
    drawn = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]).to(images).view(3, 1, 1, 2)
    return drawn.expand(len(images), -1, -1, -1, -1)


def test_the_line_is_left_where_the_model_gives_way() -> None:
    found = attacks.latent_descent(
        model, IMAGES, LABELS, explain=explain, coarse=10, binary_search_steps=20
    )
    # The first pixel, falling to 0, meets the second, rising to 1.
    start, aim = IMAGES[:2].flatten(1), torch.tensor([0.0, 1.0]).double()
    fraction = (start[:, 0] - start[:, 1]) / (start[:, 0] - start[:, 1] + 1)
    expected = start + fraction[:, None] * (aim - start)
    torch.testing.assert_close(found.images[:2].flatten(1), expected, rtol=0, atol=1e-6)
    assert found.success.all() and torch.equal(found.images[2], IMAGES[2])
    assert found.queries[2] == 2 and (found.queries[:2] > 20).all()
    assert (found.gradients == 0).all()


def test_a_target_is_the_class_aimed_at() -> None:
    targets = torch.tensor([2, 1, 1])
    found = attacks.latent_descent(model, IMAGES, LABELS, explain=explain, targets=targets)
    assert found.success.all()
    assert torch.equal(model(found.images).argmax(dim=1), targets)
    nearest = attacks.latent_descent(model, IMAGES, LABELS, explain=explain)
    sizes = [(result.images - IMAGES).flatten(1).norm(dim=1) for result in (found, nearest)]
    assert sizes[0][0] > sizes[1][0] and sizes[0][1] == sizes[1][1]


def test_where_nothing_gives_way_the_clean_image_comes_back() -> None:
    found = attacks.latent_descent(
        model, IMAGES, LABELS, explain=lambda images: images[:, None].expand(-1, 3, -1, -1, -1)
    )
    assert found.success.tolist() == [False, False, True]
    assert torch.equal(found.images, IMAGES)
    assert found.queries.tolist() == [52, 52, 2]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"coarse": 0}, "coarse must be >= 1, got 0"),
        ({"binary_search_steps": -1}, "binary_search_steps must be >= 0, got -1"),
        ({"explain": lambda x: x}, "explain must return shape (2, 3, 1, 1, 2), got (2, 1, 1, 2)"),
    ],
)
def test_bad_options_are_named(options, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        attacks.latent_descent(model, IMAGES, LABELS, **({"explain": explain} | options))
