"""On a line between two classes of a linear model the first adversarial point is known."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.distal import distal, unlikelihood

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
    share = (start[:, 0] - start[:, 1]) / (start[:, 0] - start[:, 1] + 1)
    expected = start + share[:, None] * (aim - start)
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


def test_distal_images_are_sure_of_their_target() -> None:
    starts = torch.full((3, 1, 1, 2), 0.5).double()
    targets = torch.tensor([0, 1, 0])
    found = distal(model, starts, targets, confidence=0.9, step_size=0.02)
    assert found.reached.all() and (found.confidences >= 0.9).all()
    expected = model(found.images).softmax(dim=1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found.confidences, expected)
    assert found.images.min() >= 0 and found.images.max() <= 1
    assert (found.gradients > 0).all() and torch.equal(starts, torch.full_like(starts, 0.5))
    done = distal(model, found.images, targets, confidence=0.9)
    assert torch.equal(done.images, found.images) and (done.gradients == 0).all()


def test_distal_asks_the_model_once_a_step() -> None:
    asked = []

    def counted(images: Tensor) -> Tensor:
        asked.append(len(images))
        return model(images)

    starts, targets = torch.full((2, 1, 1, 2), 0.5).double(), torch.tensor([0, 1])
    found = distal(counted, starts, targets, confidence=0.999, steps=4, step_size=1e-6)
    assert asked == [2] * 5 and (found.gradients == 4).all()


def test_distal_images_of_likelihoods_need_the_likelihood() -> None:
    """Where a class must be likely, and not only likelier than others, its own logit is climbed."""

    def likelihoods(images: Tensor) -> Tensor:
        centres = torch.tensor([[0.9, 0.9], [0.1, 0.1]]).to(images)
        return -40 * (images.flatten(1)[:, None] - centres).square().sum(dim=2)

    def sure(logits: Tensor) -> Tensor:
        parts = logits.exp() + 0.01
        return parts / parts.sum(dim=1, keepdim=True)

    starts, targets = torch.tensor([[[[0.9, 0.2]]]]).double(), torch.tensor([0])
    found = distal(
        likelihoods, starts, targets, probabilities=sure, loss=unlikelihood, step_size=1e-3,
        steps=300, momentum=0.5,
    )  # fmt: skip
    assert found.reached.all()
    assert sure(likelihoods(found.images))[0, 0] >= 0.9
    few = distal(likelihoods, starts, targets, probabilities=sure, steps=1, step_size=1e-5)
    assert not few.reached.any() and few.gradients.tolist() == [1]


def test_bad_options_are_named() -> None:
    module = nn.Flatten()
    for call, rule in (
        (lambda: attacks.latent_descent(model, IMAGES, LABELS, explain=explain, coarse=0),
         "coarse must be >= 1, got 0"),
        (lambda: attacks.latent_descent(
            model, IMAGES, LABELS, explain=explain, binary_search_steps=-1
        ), "binary_search_steps must be >= 0, got -1"),
        (lambda: attacks.latent_descent(model, IMAGES, LABELS, explain=lambda x: x),
         "explain must return shape (2, 3, 1, 1, 2), got (2, 1, 1, 2)"),
        (lambda: distal(module, IMAGES, LABELS, confidence=1.0), "confidence must be < 1, got 1"),
        (lambda: distal(module, IMAGES, LABELS, momentum=-0.1), "momentum must be >= 0, got -0.1"),
        (lambda: distal(module, IMAGES, LABELS, steps=0), "steps must be >= 1, got 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(rule)):
            call()
