"""The pointwise attack: where the answer is known, where it ends, and beside Foolbox's."""

from __future__ import annotations

import copy
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.base import AttackContext
from armsrace.attacks.sparse.pointwise import MIN_FRACTION, reset
from armsrace.contracts import UNIT, Norm
from armsrace.norms import distances
from tests.attacks.cases import Counting

Digits = tuple[Tensor, Tensor]
BLACK, LABEL = torch.zeros(1, 1, 5, 5, dtype=torch.float64), torch.tensor([0])
WHITE = torch.ones_like(BLACK)
NEEDED = [(0, 3), (2, 2), (4, 1)]


def all_bright(images: Tensor) -> Tensor:
    """Class 1 where three certain pixels are all brighter than one half, class 0 elsewhere."""
    bright = torch.stack([images[:, 0, row, column] > 0.5 for row, column in NEEDED], dim=1)
    second = bright.all(dim=1).to(images.dtype)
    return torch.stack([1 - 2 * second, 2 * second - 1], dim=1)


def test_only_the_pixels_that_are_needed_stay() -> None:
    for options in ({"start": WHITE}, {"start": WHITE.float()}, {}):
        result = attacks.pointwise(all_bright, BLACK, LABEL, restarts=3, **options)
        assert result.success.all()
        assert result.images[0, 0].nonzero().tolist() == [list(place) for place in NEEDED]


def test_in_l2_they_go_back_as_far_as_the_boundary() -> None:
    result = attacks.pointwise(all_bright, BLACK, LABEL, norm="l2", start=WHITE, restarts=1)
    kept = torch.stack([result.images[0, 0, row, column] for row, column in NEEDED])
    assert result.success.all() and (result.images != 0).sum() == 3
    # No value can go on by a 64th of its way to black.
    assert (kept > 0.5).all() and (kept * (1 - MIN_FRACTION) <= 0.5).all()


def test_a_pixel_is_reset_with_its_channels_in_l0_and_value_by_value_in_l2() -> None:
    def red(images: Tensor) -> Tensor:
        return all_bright(images[:, :1])

    black, white = BLACK.expand(-1, 3, -1, -1), WHITE.expand(-1, 3, -1, -1)
    found = {
        norm: attacks.pointwise(red, black, LABEL, norm=norm, start=white).images
        for norm in ("l0", "l2")
    }
    assert (found["l0"] != 0).sum() == 9 and distances(found["l0"], "l0") == 3
    assert (found["l2"] != 0).sum() == 3 and distances(found["l2"], "l0") == 3


@pytest.mark.parametrize("norm", ["l0", "l2"])
def test_it_ends_where_nothing_can_be_reset(s3_cnn: nn.Module, digits: Digits, norm: Norm) -> None:
    images, labels = digits[0][:6].double(), digits[1][:6]
    model = copy.deepcopy(s3_cnn).double()
    counting = Counting(model).eval()
    result = attacks.pointwise(counting, images, labels, norm=norm, restarts=2)
    assert int(result.queries.sum()) == counting.forwards and (result.gradients == 0).all()
    assert result.success.all()
    for clean, found, label in zip(images, result.images, labels, strict=True):
        places = (found != clean).any(dim=0).nonzero()
        nearer = found.repeat(len(places), 1, 1, 1)
        steps = {"l0": 1.0, "l2": MIN_FRACTION}[norm]
        for number, (row, column) in enumerate(places.tolist()):
            nearer[number, :, row, column] += steps * (clean - found)[:, row, column]
        with torch.no_grad():
            assert (model(nearer).argmax(dim=1) == label).all()


def test_blocks_reset_what_pixel_by_pixel_resets() -> None:
    """Where resetting never helps the other class, the end follows from the order alone."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(100, generator=generator, dtype=torch.float64)
    budget = 0.9 * weights.sum()

    def model(images: Tensor) -> Tensor:
        excess = images.flatten(1) @ weights - budget * torch.tensor(0.2)
        return torch.stack([-excess, excess], dim=1)

    rows = 40
    clean = torch.zeros(rows, 1, 10, 10, dtype=torch.float64)
    numbers = torch.rand(rows, 1, 10, 10, generator=generator, dtype=torch.float64)
    context = AttackContext(model, clean, torch.zeros(rows, dtype=torch.int64), None, UNIT)
    found, queries = reset(context, torch.ones_like(clean), lambda: numbers)
    expected = torch.ones_like(clean).flatten(1)
    for place in numbers.flatten(1).argsort(dim=1).unbind(dim=1):
        trial = expected.scatter(1, place[:, None], 0.0)
        fooled = model(trial).argmax(dim=1) == 1
        expected[fooled] = trial[fooled]
    assert torch.equal(found.flatten(1), expected)
    kept = expected.sum(dim=1)
    assert 5 < kept.mean() < 40
    # One by one it takes a query a pixel, and one more for each that stays.
    assert queries.double().mean() < 0.8 * (100 + kept.mean())


def test_a_bad_start_is_named() -> None:
    with pytest.raises(ValueError, match="start must be adversarial, got 1 of 1 that are not"):
        attacks.pointwise(all_bright, BLACK, LABEL, start=BLACK)
    with pytest.raises(ValueError, match="start must have shape"):
        attacks.pointwise(all_bright, BLACK, LABEL, start=WHITE[0])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"norm": "linf"}, "norm must be one of l0, l2, got 'linf'"),
        ({"restarts": 0}, "restarts must be >= 1, got 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.pointwise(all_bright, BLACK, LABEL, **options)


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize(("norm", "restarts"), [("l0", 6), ("l2", 10)])
def test_it_is_nearer_than_foolbox_at_fewer_queries(
    s3_cnn: nn.Module, digits: Digits, norm: Norm, restarts: int
) -> None:
    foolbox = pytest.importorskip("foolbox")
    images, labels = digits[0][:20], digits[1][:20]
    counting = Counting(s3_cnn).eval()
    wrapped = foolbox.PyTorchModel(counting, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.PointwiseAttack(l2_binary_search=norm == "l2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        numpy.random.seed(0)
        theirs = distances(attack(wrapped, images, labels, epsilons=None)[1] - images, norm)
    result = attacks.pointwise(s3_cnn, images, labels, norm=norm, restarts=restarts)
    assert result.queries.sum() < counting.forwards
    assert distances(result.images - images, norm).median() <= theirs.median()
