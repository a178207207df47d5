"""Searches on a decoder's range: known where decoder and model are linear."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.overpowered import Pairs, between, overpowered, pair_starts
from armsrace.contracts import Bounds

LATENTS, SHAPE, WIDE = 3, (1, 3, 4), Bounds(-50, 50)
EPSILON = 0.8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Linear(nn.Module):
    """½ + z W with orthonormal rows of W: distances of latents are distances of images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(drawn(12, LATENTS, seed=1))[0].T.contiguous())

    def forward(self, latents: Tensor) -> Tensor:
        return (0.5 + latents @ self.weight).view(-1, *SHAPE)


@pytest.fixture
def decoder() -> Linear:
    return Linear()


@pytest.fixture
def classifier() -> nn.Sequential:
    """Two classes: the second where w · x + b > 0."""
    layer = nn.Linear(12, 2).double()
    half = drawn(12, seed=2)
    layer.weight.data, layer.bias.data = torch.stack([-half, half]), drawn(2, seed=3)
    return nn.Sequential(nn.Flatten(), layer)


def normal_in_range(decoder: Linear, classifier: nn.Sequential) -> tuple[Tensor, Tensor]:
    """The logit difference as a function v · z + c of the latents: v (L,) and c."""
    with torch.no_grad():
        weights = classifier[1].weight[1] - classifier[1].weight[0]
        bias = classifier[1].bias[1] - classifier[1].bias[0]
        return decoder.weight @ weights, 0.5 * weights.sum() + bias


def greatest_loss(steepness: Tensor) -> float:
    """max over m of CE(σ(m + εs), σ(m)) where s is the slope: one number to search."""
    below = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    below = below[(below < 0) & (below + EPSILON * steepness > 0)]
    above = torch.sigmoid(below + EPSILON * steepness)
    return float((nn.functional.softplus(below) - above * below).max())


def some_pairs(decoder: nn.Module, classifier: nn.Module, count: int = 8, **options: Any) -> Pairs:
    starts = drawn(count, 2, LATENTS, seed=5)
    options = {"epsilon": EPSILON, "bounds": WIDE, "steps": 60} | options
    return overpowered(classifier, decoder, starts, **options)


def test_the_greatest_loss_is_known_on_a_linear_model(decoder, classifier) -> None:
    """The two lie across the boundary along its normal, as far apart as they may."""
    found = some_pairs(
        decoder,
        classifier,
        steps=400,
        step_size=0.03,
        first=False,
        multiplier_step=0.1,
        penalty=0.0,
    )
    slope, _ = normal_in_range(decoder, classifier)
    limit = greatest_loss(slope.norm())
    assert found.found.all()
    assert (found.losses <= limit + 1e-3).all(), "more than there is"
    assert (found.losses > 0.9 * limit).all(), f"{found.losses} of {limit}"
    assert (found.distances > 0.9 * EPSILON).all()


@pytest.mark.parametrize("first", [True, False])
def test_what_is_found_is_valid(decoder, classifier, first: bool) -> None:
    found = some_pairs(decoder, classifier, first=first, steps=100)
    assert 4 <= found.found.sum() < 8, "some, and not all in so few steps"
    assert torch.equal(found.images, decoder(found.latents.flatten(0, 1)).view(-1, 2, *SHAPE))
    gaps = (found.images[:, 0] - found.images[:, 1]).flatten(1).norm(dim=1)
    torch.testing.assert_close(found.distances, gaps)
    assert (gaps[found.found] <= EPSILON).all()
    first_answer, second = (classifier(found.images[:, k]).log_softmax(dim=1) for k in (0, 1))
    apart = first_answer.argmax(dim=1) != second.argmax(dim=1)
    assert torch.equal(found.found, apart & (gaps <= EPSILON))
    divergences = (first_answer.exp() * (first_answer - second)).sum(dim=1)
    torch.testing.assert_close(found.divergences, divergences)


def test_all_steps_find_a_greater_loss_than_the_first_point(decoder, classifier) -> None:
    early, late = (some_pairs(decoder, classifier, first=first, steps=200) for first in (True, 0))
    assert (late.losses >= early.losses - 1e-12).all() and late.losses.mean() > early.losses.mean()
    assert (early.gradients < 200).all() and (late.gradients == 200).all()


def test_a_model_that_does_not_change_is_not_separated(decoder) -> None:
    def indifferent(images: Tensor) -> Tensor:
        return 1e-3 * images.flatten(1)[:, :2] + torch.tensor([5.0, 0.0], dtype=torch.float64)

    found = some_pairs(decoder, indifferent)
    assert not found.found.any()
    assert (found.gradients == 60).all() and (found.queries == 61).all()


def test_images_are_clipped_to_the_box(decoder, classifier) -> None:
    found = some_pairs(decoder, classifier, bounds=Bounds(0.3, 0.7))
    assert found.images.min() == 0.3 and found.images.max() == 0.7


@pytest.mark.parametrize("first", [True, False])
def test_a_pair_does_not_depend_on_the_others(decoder, classifier, first: bool) -> None:
    together = some_pairs(decoder, classifier, first=first)
    starts = drawn(8, 2, LATENTS, seed=5)
    for place in range(8):
        alone = overpowered(
            classifier, decoder, starts[place : place + 1], epsilon=EPSILON, bounds=WIDE,
            steps=60, first=first,
        )  # fmt: skip
        for name, value in vars(alone).items():
            torch.testing.assert_close(value[0], getattr(together, name)[place], rtol=0, atol=1e-9)
    assert first is False or together.gradients.unique().numel() > 1, "they end at different steps"


def test_the_line_of_a_pair_runs_from_one_answer_to_the_other(decoder, classifier) -> None:
    """On linear models the logit difference is linear along it."""
    found = some_pairs(decoder, classifier)
    line = between(classifier, decoder, found.latents, points=5, bounds=WIDE)
    assert line.shape == (8, 5, 2)
    for place, step in ((0, 0), (1, -1)):
        answer = classifier(found.images[:, place]).softmax(dim=1)
        torch.testing.assert_close(line[:, step], answer)
    steps = (line[..., 1] / line[..., 0]).log().diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))
    with pytest.raises(ValueError, match="points must be >= 2, got 1"):
        between(classifier, decoder, found.latents, points=1)


def test_starts_follow_from_the_seed() -> None:
    first, again, other = (
        pair_starts(5, 7, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(pair_starts(5, 7), pair_starts(5, 7)) and first.shape == (5, 2, 7)
    assert not torch.equal(first[:, 0], first[:, 1])


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


def test_the_nearest_on_the_range_is_known_on_a_linear_model(decoder, classifier) -> None:
    """Onto the range, then along the boundary's normal within it: Pythagoras."""
    images = 0.5 + drawn(20, *SHAPE, seed=7)
    labels = classifier(images).argmax(dim=1)

    def encoder(images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ decoder.weight.detach().T

    found = attacks.on_manifold(
        classifier, images, labels, decoder=decoder, encoder=encoder, steps=400, bounds=WIDE
    )
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


def test_an_encoder_or_decoder_of_another_shape_is_named(decoder, classifier) -> None:
    images = 0.5 + drawn(4, *SHAPE, seed=7)
    labels = classifier(images).argmax(dim=1)
    wrong = {
        "encoder's latents must have shape (N, L), got (4,)": (decoder, lambda x: x[:, 0, 0, 0]),
        "encoder must return 4 latents, got 1": (decoder, lambda x: x.flatten(1)[:1, :3]),
        "decoder must draw (4, 1, 3, 4), got (4, 1, 4, 3)": (
            lambda z: decoder(z).transpose(2, 3), lambda x: x.flatten(1)[:, :3]
        ),
    }  # fmt: skip
    for rule, (draw, encode) in wrong.items():
        with pytest.raises(ValueError, match=re.escape(rule)):
            attacks.on_manifold(
                classifier, images, labels, decoder=draw, encoder=encode, bounds=WIDE
            )
