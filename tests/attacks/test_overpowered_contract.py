"""The overpowered attack counts its work, leaves no trace, and names what it refuses."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn

from armsrace.attacks.generative.overpowered import overpowered
from tests.attacks.on_range import (
    EPSILON,
    LATENTS,
    WIDE,
    Linear,
    drawn,
    linear_classifier,
    some_pairs,
)


@pytest.fixture
def decoder() -> Linear:
    return Linear()


@pytest.fixture
def classifier() -> nn.Sequential:
    return linear_classifier()


class Counted(nn.Module):
    """Counts the images that went forward and backward, and notes the mode."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.forwards, self.backwards, self.trained = model, 0, 0, False

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        self.trained |= self.training
        logits = self.model(images)
        if logits.requires_grad:
            logits.register_hook(self._backward)
        return logits

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def test_the_work_is_counted_and_leaves_no_trace(decoder, classifier) -> None:
    counted = Counted(classifier).train()
    decoder.train()
    before, state = copy.deepcopy(counted.state_dict()), torch.get_rng_state()
    starts = drawn(8, 2, LATENTS, seed=5)
    with torch.inference_mode():
        found = overpowered(counted, decoder, starts, epsilon=EPSILON, bounds=WIDE, steps=60)
    assert 2 * int(found.queries.sum()) == counted.forwards
    assert 2 * int(found.gradients.sum()) == counted.backwards
    assert counted.training and decoder.training and not counted.trained
    assert all(map(torch.equal, before.values(), counted.state_dict().values()))
    assert all(weights.grad is None for weights in (*counted.parameters(), decoder.weight))
    assert torch.equal(starts, drawn(8, 2, LATENTS, seed=5)), "starts edited"
    assert torch.equal(state, torch.get_rng_state()) and not found.images.requires_grad


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"epsilon": -0.1}, "epsilon must be >= 0, got -0.1"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"step_size": 0.0}, "step_size must be >= 1e-09, got 0"),
        ({"penalty": float("nan")}, "penalty must be >= 0, got nan"),
        ({"multiplier_step": -1.0}, "multiplier_step must be >= 0, got -1"),
    ],
)
def test_bad_options_are_named(decoder, classifier, options, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        some_pairs(decoder, classifier, **options)


def test_bad_starts_decoders_and_models_are_named(decoder, classifier) -> None:
    flat, three = torch.zeros(4, LATENTS), torch.zeros(4, 3, LATENTS)
    for starts, rule in (
        (flat, "starts must have shape (N, 2, L), got (4, 3)"),
        (three, "starts must have shape (N, 2, L), got (4, 3, 3)"),
        (torch.full((1, 2, 3), torch.nan), "starts must be finite, got NaN"),
    ):
        with pytest.raises(ValueError, match=re.escape(rule)):
            overpowered(classifier, decoder, starts, epsilon=1.0)
    for broken, rule in (
        (lambda z: z, "decoder must return shape (16, C, H, W), got (16, 3)"),
        (lambda z: decoder(z).detach(), "decoder must be differentiable in its latents"),
    ):
        with pytest.raises(ValueError, match=re.escape(rule)):
            some_pairs(broken, classifier)
    with pytest.raises(ValueError, match="model must return logits, got probabilities"):
        some_pairs(decoder, nn.Sequential(classifier, nn.Softmax(dim=1)))
