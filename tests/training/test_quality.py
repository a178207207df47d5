"""The Fréchet distance is the formula, and tells digits from what is none."""

import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from armsrace import datasets
from armsrace.models.gan import compact
from armsrace.training.quality import digits_distance, frechet_distance


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_formula_with_scipys_root() -> None:
    first, second = drawn(50, 6) @ drawn(6, 6, seed=1), drawn(40, 6, seed=2) + 1
    one, other = (features.double().numpy() for features in (first, second))
    spreads = [torch.from_numpy(part).T.cov().numpy() for part in (one, other)]
    root = sqrtm(spreads[0] @ spreads[1]).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + (spreads[0] + spreads[1]).trace()
    assert frechet_distance(first, second) == pytest.approx(expected - 2 * root.trace(), rel=1e-6)


def test_a_shift_adds_its_square() -> None:
    features, shift = drawn(30, 4), torch.tensor([1.0, -2.0, 0.0, 0.5])
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features + shift) == pytest.approx(5.25, rel=1e-4)


def test_fewer_images_than_features_have_a_distance() -> None:
    assert frechet_distance(drawn(5, 20), drawn(6, 20, seed=1)) > 0


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((5,), (5,)), ((1, 3), (5, 3))])
def test_wrong_shapes_are_refused(shapes) -> None:
    with pytest.raises(ValueError, match="first and second must"):
        frechet_distance(*(drawn(*shape) for shape in shapes))


def test_an_untrained_generator_is_far_from_digits(monkeypatch) -> None:
    monkeypatch.setattr("armsrace.training.quality.SAMPLES", 300)
    assert digits_distance(compact(filters=4), datasets.held_out("mnist")) > 50


def test_only_a_generator_is_judged() -> None:
    with pytest.raises(TypeError, match="must be a Generator, got Linear"):
        digits_distance(nn.Linear(2, 2), datasets.held_out("mnist"))
