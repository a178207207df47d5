"""Where explanations do not move, the fewest pixels are known: those with the largest gains."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from armsrace import attacks
from armsrace.attacks.generative.greedy_explanation import ACROSS
from armsrace.norms import distances

SIDE = 4


def drawings(seed: int, classes: int = 2) -> Tensor:
    """One image per class, (K, 1, 4, 4)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(classes, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)


def costs(images: Tensor, drawn: Tensor, factors: Tensor) -> Tensor:
    return (images[:, None] - drawn).flatten(2).square().sum(dim=2) * factors


def setting(seed: int, factors: Tensor | None = None):
    """A model by distances to fixed drawings, its `explain`, five images and their classes."""
    drawn = drawings(seed)
    f = torch.ones(2).double() if factors is None else factors
    images = drawings(seed + 1, 5)
    model = lambda x: -costs(x, drawn, f)  # noqa: E731
    explain = lambda x: drawn.expand(len(x), *drawn.shape)  # noqa: E731
    return model, explain, images, model(images).argmax(dim=1)


@given(st.integers(0, 1000))
def test_no_attack_needs_fewer_pixels(seed: int) -> None:
    model, explain, images, labels = setting(seed)
    found = attacks.greedy_explanation(
        model, images, labels, explain=explain, pixels=1, steps=SIDE**2
    )
    # The lead is linear in the image: what a pixel can gain at most is at an end of the box.
    w = (explain(images)[:, 1] - explain(images)[:, 0]).flatten(1)
    toward = torch.where(labels == 0, 1.0, -1.0)[:, None].double() * w
    x = images.flatten(1)
    gains = torch.maximum(2 * toward * (1 - x), -2 * toward * x)
    lead = -model(images).diff(dim=1)[:, 0].abs()
    enough = gains.sort(dim=1, descending=True).values.cumsum(dim=1) > -lead[:, None]
    fewest = torch.where(enough.any(dim=1), 1 + enough.int().argmax(dim=1), 0)
    assert torch.equal(found.success, enough.any(dim=1))
    assert torch.equal(distances(found.images - images, "l0").long(), fewest)
    assert (found.gradients == 0).all()


def test_what_is_changed_too_much_is_restored() -> None:
    model, explain, images, labels = setting(3)
    attack = partial(attacks.greedy_explanation, model, images, labels, explain=explain)
    fewest = distances(attack(pixels=1, steps=16).images - images, "l0")
    many = attack(pixels=16, steps=1)
    left = attack(pixels=16, steps=1, restore=False)
    assert many.success.all()
    assert (distances(left.images - images, "l0") > fewest).any()
    for index in range(len(images)):
        changed = (many.images[index] != images[index]).nonzero()
        for place in changed:
            trial = many.images[index].clone()
            trial[tuple(place)] = images[index][tuple(place)]
            assert model(trial[None]).argmax(dim=1) == labels[index], "one more could be restored"
    # A pass for the clean image, the step, the verdicts before and after, and each changed pixel.
    assert (many.queries > left.queries).all()


def test_behind_a_threshold_the_cheapest_pixel_is_moved_just_across() -> None:
    drawn = torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).double().view(2, 1, 2, 2)
    images = torch.tensor([[0.9, 0.6, 1.0, 0.2]]).double().view(1, 1, 2, 2)
    factors = torch.tensor([1.0, 1.4]).double()

    def model(x: Tensor) -> Tensor:
        return -costs((x > 0.5).to(x), drawn, factors) - torch.tensor([0.9, 0.0])

    found = attacks.greedy_explanation(
        model, images, torch.tensor([0]),
        explain=lambda x: drawn.expand(len(x), *drawn.shape),
        norm="l2", factors=factors, threshold=0.5, pixels=1,
    )  # fmt: skip
    # Each of the first three gains 1 + 1.4; the lead is 3 · 1.4 − .9 = 3.3, so it takes two.
    moved = images.clone()
    moved[0, 0, 0, 0], moved[0, 0, 0, 1] = 0.5, 0.5
    assert found.success.all()
    torch.testing.assert_close(found.images, moved, rtol=0, atol=1e-12)
    upward = attacks.greedy_explanation(
        lambda x: -model(x), images.flip(3), torch.tensor([1]),
        explain=lambda x: drawn.flip(0).expand(len(x), *drawn.shape),
        norm="l2", threshold=0.5, pixels=1, restore=False,
    )  # fmt: skip
    raised = upward.images > images.flip(3)
    assert (upward.images[raised] == 0.5 + ACROSS).all()


def test_the_rival_may_be_wanted_and_a_hopeless_one_is_given_up() -> None:
    drawn = drawings(0, 3)
    images = drawings(9, 4)
    model = lambda x: -costs(x, drawn, torch.ones(3).double())  # noqa: E731
    explain = lambda x: drawn.expand(len(x), *drawn.shape)  # noqa: E731
    labels = model(images).argmax(dim=1)
    targets = (labels + 1) % 3
    found = attacks.greedy_explanation(
        model, images, labels, explain=explain, targets=targets, pixels=1, steps=16
    )
    assert torch.equal(model(found.images).argmax(dim=1)[found.success], targets[found.success])
    assert found.success.any()
    far = lambda x: model(x) + 1e6 * torch.nn.functional.one_hot(labels, 3)  # noqa: E731
    lost = attacks.greedy_explanation(far, images, labels, explain=explain, pixels=4)
    assert not lost.success.any() and torch.equal(lost.images, images)
    # After four steps no pixel is left that gains: the search ends.
    assert (lost.queries <= 8).all()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"pixels": 0}, "pixels must be >= 1, got 0"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"norm": "linf"}, "norm must be"),
        ({"norm": "l2"}, "threshold must be given in L2"),
        ({"threshold": 1.0}, "threshold must lie inside the box, got 1"),
        ({"factors": torch.ones(3)}, "factors must have shape (2,), got (3,)"),
        ({"explain": lambda x: x}, "explain must return shape (5, 2, 1, 4, 4), got (5, 1, 4, 4)"),
    ],
)
def test_bad_options_are_named(options, rule: str) -> None:
    model, explain, images, labels = setting(5)
    with pytest.raises(ValueError, match=re.escape(rule)):
        attacks.greedy_explanation(model, images, labels, **({"explain": explain} | options))
