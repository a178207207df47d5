"""Pairs on a decoder's range: known where decoder and model are linear."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from armsrace.attacks.generative.overpowered import between, overpowered, pair_starts
from armsrace.contracts import Bounds
from tests.attacks.on_range import (
    EPSILON,
    LATENTS,
    SHAPE,
    WIDE,
    Linear,
    drawn,
    linear_classifier,
    normal_in_range,
    some_pairs,
)


@pytest.fixture
def decoder() -> Linear:
    return Linear()


@pytest.fixture
def classifier() -> nn.Sequential:
    return linear_classifier()


def greatest_loss(steepness: Tensor) -> float:
    """max over m of CE(σ(m + εs), σ(m)) where s is the slope: one number to search."""
    below = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    below = below[(below < 0) & (below + EPSILON * steepness > 0)]
    above = torch.sigmoid(below + EPSILON * steepness)
    return float((nn.functional.softplus(below) - above * below).max())


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
