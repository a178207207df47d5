"""The search near one image: the nearest on a linear range is known."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.contracts import Bounds
from tests.attacks.on_range import (
    LATENTS,
    SHAPE,
    WIDE,
    Linear,
    drawn,
    linear_classifier,
    normal_in_range,
)


@pytest.fixture
def decoder() -> Linear:
    return Linear()


@pytest.fixture
def classifier() -> nn.Sequential:
    return linear_classifier()


def test_the_nearest_on_the_range_is_known_on_a_linear_model(decoder, classifier) -> None:
    """Onto the range, then along the boundary's normal within it: Pythagoras."""
    images = 0.5 + 0.1 * drawn(20, *SHAPE, seed=7)
    labels = classifier(images).argmax(dim=1)

    def encoder(images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ decoder.weight.detach().T

    found = attacks.on_manifold(
        classifier, images, labels, decoder=decoder, encoder=encoder, steps=400,
        bounds=Bounds(-0.5, 1.5),
    )  # fmt: skip
    slope, offset = normal_in_range(decoder, classifier)
    latents = encoder(images)
    across = (latents @ slope + offset) * (1 - 2 * labels)
    aside = (decoder(latents) - images).flatten(1).norm(dim=1)
    limit = (aside.square() + (across.clamp_max(0) / slope.norm()).square()).sqrt().detach()
    sizes = (found.images - images).flatten(1).norm(dim=1)
    assert found.success.all() and (sizes >= limit - 1e-9).all()
    torch.testing.assert_close(sizes, limit, rtol=0.01, atol=0)
    drawn_again = decoder(encoder(found.images))
    torch.testing.assert_close(drawn_again, found.images)


def test_confidence_is_won_by(decoder, classifier) -> None:
    """Every image found wins by it, and is farther than without."""
    images = 0.5 + drawn(10, *SHAPE, seed=8)
    labels = classifier(images).argmax(dim=1)
    sizes = {}
    for confidence in (0.0, 1.0):
        found = attacks.on_manifold(
            classifier, images, labels, decoder=decoder, confidence=confidence, steps=150,
            encoder=lambda x: (x.flatten(1) - 0.5) @ decoder.weight.detach().T, bounds=WIDE,
        )  # fmt: skip
        logits = classifier(found.images)
        lead = logits.gather(1, 1 - labels[:, None]) - logits.gather(1, labels[:, None])
        assert found.success.all() and (lead >= confidence).all()
        sizes[confidence] = (found.images - images).flatten(1).norm(dim=1)
    assert (sizes[1.0] >= sizes[0.0]).all() and sizes[1.0].mean() > sizes[0.0].mean()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"step_size": 0.0}, "step_size must be >= 1e-09, got 0"),
        ({"confidence": -1.0}, "confidence must be >= 0, got -1"),
        ({"gamma": 1.0}, "gamma must be < 1, got 1"),
    ],
)
def test_bad_options_of_the_search_are_named(decoder, classifier, options, rule: str) -> None:
    images = torch.full((2, *SHAPE), 0.5, dtype=torch.float64)
    with pytest.raises(ValueError, match=re.escape(rule)):
        attacks.on_manifold(
            classifier, images, torch.zeros(2, dtype=torch.int64), decoder=decoder,
            encoder=lambda x: x.flatten(1)[:, :LATENTS], **options,
        )  # fmt: skip


def test_an_encoder_or_decoder_of_another_shape_is_named(decoder, classifier) -> None:
    images = 0.5 + drawn(4, *SHAPE, seed=7)
    labels = classifier(images).argmax(dim=1)
    wrong = {
        "encoder's latents must have shape (N, L), got (4,)": (decoder, lambda x: x[:, 0, 0, 0]),
        "encoder must return 4 latents, got 1": (decoder, lambda x: x.flatten(1)[:1, :3]),
        "decoder must return shape (4, 1, 3, 4), got (4, 1, 4, 3)": (
            lambda z: decoder(z).transpose(2, 3), lambda x: x.flatten(1)[:, :3]
        ),
    }  # fmt: skip
    for rule, (draw, encode) in wrong.items():
        with pytest.raises(ValueError, match=re.escape(rule)):
            attacks.on_manifold(
                classifier, images, labels, decoder=draw, encoder=encode, bounds=WIDE
            )
