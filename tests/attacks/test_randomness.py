"""Random numbers that belong to an image."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from armsrace.attacks.gradient.pgd import random_perturbation
from armsrace.contracts import Norm
from armsrace.norms import distances
from armsrace.randomness import Keys, default_generator, normal, signs, uniform


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images(digits: tuple[Tensor, Tensor]) -> Tensor:
    return digits[0][:50]


def test_uniform_is_uniform(images: Tensor) -> None:
    for draw in (uniform(images, _generator()), uniform(images, _generator(1))):
        assert kstest(draw.flatten().numpy(), "uniform").pvalue > 1e-3


def test_normal_is_normal(images: Tensor) -> None:
    assert kstest(normal(images, _generator()).flatten().numpy(), "norm").pvalue > 1e-3


def test_signs_are_fair_and_unrelated(images: Tensor) -> None:
    draw = signs(images, _generator()).flatten(1)
    assert draw.unique().tolist() == [-1.0, 1.0]
    bound = 4 / math.sqrt(draw.numel())
    assert abs(float(draw.mean())) < bound
    assert abs(float((draw[:, 1:] * draw[:, :-1]).mean())) < bound, "neighbours in an image"
    assert abs(float((draw[1:] * draw[:-1]).mean())) < bound, "neighbours in a batch"


def test_images_that_differ_in_one_bit_share_nothing(images: Tensor) -> None:
    other = images.clone()
    other[:, 0, 14, 14] = torch.nextafter(other[:, 0, 14, 14], torch.tensor(2.0))
    agree = signs(images, _generator()) == signs(other, _generator())
    assert abs(float(agree.double().mean()) - 0.5) < 0.02


def test_each_call_draws_anew(images: Tensor) -> None:
    generator = _generator()
    draws = [uniform(images, generator) for _ in range(3)]
    assert all((one != other).double().mean() > 0.99 for one, other in pairwise(draws))


def test_many_calls_at_once_draw_what_each_would(images: Tensor) -> None:
    keys, one_by_one, at_once = Keys(images), _generator(), _generator()
    expected = torch.stack([keys.uniform((2, 3), one_by_one) for _ in range(5)], dim=1)
    assert torch.equal(keys.uniform_calls(5, (2, 3), at_once), expected)
    assert torch.equal(keys.uniform((4,), at_once), keys.uniform((4,), one_by_one))


def test_dtype_follows_the_images_and_values_agree(images: Tensor) -> None:
    single = uniform(images, _generator())
    double = uniform(images.double(), _generator())
    assert single.dtype == torch.float32 and double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_uniform_stays_below_one_in_every_dtype(dtype: torch.dtype, images: Tensor) -> None:
    """float16 rounds one number in 4,096 up to 1, and float32 one in 33 million."""
    draw = uniform(images.to(dtype), _generator())
    assert draw.max() < 1 and draw.min() >= 0
    for norm in ("l1", "l2"):
        start = random_perturbation(images.to(dtype), norm, 1.0, _generator())
        assert start.dtype == dtype and torch.isfinite(start).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_random_perturbations_are_uniform_in_the_ball(norm: Norm) -> None:
    places = torch.rand(4000, 1, 1, 3, generator=_generator(), dtype=torch.float64)
    points = random_perturbation(places, norm, 2.0, _generator())
    # The fraction of a ball within radius r of its own is r to the power of the dimension.
    radii = (distances(points, norm) / 2).numpy()
    assert kstest(radii**3, "uniform").pvalue > 1e-3
    assert points.mean(dim=0).abs().max() < 0.1
    # Along one axis: 2 of 3 dimensions lie in the slice, so its density is known.
    if norm == "l2":
        along = (points[:, 0, 0, 0] / 2).numpy()
        assert kstest(along, lambda x: 0.5 + 0.75 * (x - x**3 / 3)).pvalue > 1e-3
    if norm == "l1":
        along = (points[:, 0, 0, 0].abs() / 2).numpy()
        assert kstest(along, lambda x: 1 - (1 - x) ** 3).pvalue > 1e-3


def test_the_default_generator_is_seeded_and_private(images: Tensor) -> None:
    assert torch.equal(
        uniform(images, default_generator(None)), uniform(images, default_generator(None))
    )
    given = _generator(5)
    assert default_generator(given) is given
