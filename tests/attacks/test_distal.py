"""Distal images: what a model is confident of, and how often it is asked."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from armsrace.attacks.generative.distal import distal, unlikelihood


def model(images: Tensor) -> Tensor:
    """Class 0, 1 or 2 by the first pixel, the second, or neither: logits far from summing to 1."""
    flat = images.flatten(1) * 10
    return torch.cat([flat, torch.full_like(flat[:, :1], 1.0)], dim=1)


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


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"confidence": 1.0}, "confidence must be < 1, got 1"),
        ({"momentum": -0.1}, "momentum must be >= 0, got -0.1"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
    ],
)
def test_bad_options_are_named(options, rule: str) -> None:
    images = torch.full((3, 1, 1, 2), 0.5).double()
    with pytest.raises(ValueError, match=re.escape(rule)):
        distal(nn.Flatten(), images, torch.zeros(3, dtype=torch.int64), **options)
