"""Projection, steepest steps and distances against independent references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from torch import Tensor

from armsrace.contracts import UNIT, Norm
from armsrace.norms import (
    distances,
    linear_maximizer_l1,
    normalize,
    project,
    project_l1_box,
    steepest_direction,
)
from tests.attacks.linear import some_images

EPSILON = st.sampled_from([0.0, 1e-6]) | st.floats(0.0, 20.0)


def _points(seed: int, count: int = 6, size: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(count, 3, 4, 5, generator=generator, dtype=torch.float64)


def _soft_threshold(point: np.ndarray, epsilon: float) -> np.ndarray:
    """The nearest point of the L1 ball by root finding on the threshold."""
    sizes = np.abs(point)
    if sizes.sum() <= epsilon:
        return point
    threshold = brentq(
        lambda value: np.maximum(sizes - value, 0).sum() - epsilon, 0, sizes.max(), xtol=1e-15
    )
    return np.sign(point) * np.maximum(sizes - threshold, 0)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(epsilon=EPSILON, seed=st.integers(0, 1000), size=st.sampled_from([1e-3, 0.1, 1.0]))
def test_l1_projection_is_the_root_found_one(epsilon: float, seed: int, size: float) -> None:
    points = _points(seed, size=size)
    for point, projected in zip(points, project(points, "l1", epsilon), strict=True):
        expected = _soft_threshold(point.numpy(), epsilon)
        np.testing.assert_allclose(projected.numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2)])
def test_projection_is_the_nearest_point_of_the_ball(norm: Norm, order: int) -> None:
    point = torch.tensor([0.9, -0.4, 0.3, 0.0], dtype=torch.float64).view(1, 1, 2, 2)
    target = point.flatten().numpy()
    # Split into rises and falls, the L1 ball is smooth and a general solver can be the judge.
    split = np.concatenate([np.eye(4), -np.eye(4)], axis=1)
    reference = minimize(
        lambda parts: ((split @ parts - target) ** 2).sum(),
        np.full(8, 0.01),
        bounds=[(0, None)] * 8,
        constraints={
            "type": "ineq",
            "fun": lambda parts: (
                0.5 - (parts.sum() if order == 1 else np.sqrt(((split @ parts) ** 2).sum() + 1e-18))
            ),
        },
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    projected = project(point, norm, 0.5).flatten().numpy()
    np.testing.assert_allclose(projected, split @ reference.x, atol=1e-5)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    norm=st.sampled_from(["linf", "l2", "l1"]), epsilon=EPSILON, seed=st.integers(0, 1000),
    size=st.sampled_from([1e-20, 1e-3, 1.0, 1e6]),
)  # fmt: skip
def test_projection_ends_in_the_ball_and_keeps_what_is_in_it(
    norm: Norm, epsilon: float, seed: int, size: float
) -> None:
    points = _points(seed, size=size)
    projected = project(points, norm, epsilon)
    assert (distances(projected, norm) <= epsilon * (1 + 1e-12) + 1e-15 * size).all()
    inside = distances(points, norm) <= epsilon
    torch.testing.assert_close(projected[inside], points[inside], rtol=1e-12, atol=0)
    assert (projected * points >= 0).all(), "a projection turns no pixel round"


@pytest.mark.parametrize("epsilon", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_float32_projection_leaves_the_ball_by_rounding_only(norm: Norm, epsilon: float) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(200, 1, 28, 28, generator=generator)
    sizes = distances(project(points, norm, epsilon).double(), norm)
    assert (sizes <= epsilon * (1 + 2e-7)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steepest_step_raises_a_linear_function_most(norm: Norm) -> None:
    slopes, images = _points(0), torch.full((6, 3, 4, 5), 0.5, dtype=torch.float64)
    step = steepest_direction(slopes, norm, images, UNIT)
    assert torch.allclose(distances(step, norm), torch.ones(6, dtype=torch.float64))
    gained = (step * slopes).flatten(1).sum(dim=1)
    others = project(1000 * _points(1, count=6 * 100), norm, 1.0).view(100, 6, 3, 4, 5)
    assert (gained >= (others * slopes).flatten(2).sum(dim=2)).all()
    # Hölder: the most is the dual norm of the slopes.
    torch.testing.assert_close(gained, distances(slopes, "l1" if norm == "linf" else "l2"))


def test_steepest_l1_step_shares_itself_among_the_steepest_movable_pixels() -> None:
    slopes = torch.linspace(-0.999, 1, 400, dtype=torch.float64).view(1, 1, 20, 20)
    images = torch.full_like(slopes, 0.5)
    images[0, 0, 19, 19] = 1.0
    step = steepest_direction(slopes, "l1", images, UNIT).flatten()
    assert step[399] == 0, "the steepest pixel stands at the end of the box"
    assert step.nonzero().flatten().tolist() == [0, 1, 397, 398]
    assert step[[0, 1, 397, 398]].tolist() == [-0.25, -0.25, 0.25, 0.25]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_no_slope_no_step(norm: Norm) -> None:
    nothing = torch.zeros(2, 1, 4, 4)
    assert torch.equal(steepest_direction(nothing, norm, nothing + 0.5, UNIT), nothing)
    assert torch.equal(linear_maximizer_l1(nothing, 1.0, nothing + 0.5, UNIT), nothing)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-37, 1e-25, 1.0, 1e30])
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_unit_gradients_have_length_one_however_short(
    norm: Norm, size: float, dtype: torch.dtype
) -> None:
    slopes = (size * _points(0)).to(dtype)
    lengths = distances(normalize(slopes, norm), norm)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    torch.testing.assert_close(normalize(slopes, norm), normalize(_points(0), norm).to(dtype))


def test_distances_count_pixels_not_channels() -> None:
    image = torch.zeros(2, 3, 2, 2)
    image[0, :, 0, 0] = torch.tensor([0.3, -0.4, 0.0])
    image[0, 2, 1, 1] = 1.2
    expected: dict[Norm, float] = {"linf": 1.2, "l2": 1.3, "l1": 1.9, "l0": 2.0}
    for norm, size in expected.items():
        assert distances(image, norm).tolist() == pytest.approx([size, 0.0])


def test_unknown_norm_is_named() -> None:
    with pytest.raises(ValueError, match="norm must be one of linf, l2, l1, l0, got 'l3'"):
        distances(torch.zeros(1, 1, 2, 2), "l3")  # type: ignore[arg-type]


def test_the_l1_ball_within_the_box_has_a_nearest_point() -> None:
    """Inside both, and no nearer point between it and any other point of both."""
    draws = torch.Generator().manual_seed(0)
    images = (1.6 * torch.rand(40, 1, 3, 3, generator=draws, dtype=torch.float64) - 0.3).clamp(0, 1)
    delta = torch.randn(40, 1, 3, 3, generator=draws, dtype=torch.float64)
    for epsilon in (0.0, 0.1, 1.0, 3.0, 100.0):
        found = project_l1_box(delta, epsilon, images, UNIT)
        assert (distances(found, "l1") <= epsilon + 1e-12).all()
        assert (images + found).min() >= -1e-12 and (images + found).max() <= 1 + 1e-12
        for _ in range(100):
            other = torch.rand(40, 1, 3, 3, generator=draws, dtype=torch.float64) - images
            size = distances(other, "l1").view(-1, 1, 1, 1)
            other = other * (epsilon / size).clamp_max(1)
            # Where the point is nearest, no way from it to another makes an acute angle.
            angle = ((delta - found) * (other - found)).flatten(1).sum(dim=1)
            assert (angle <= 1e-9).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_each_image_has_a_ball_of_its_own(norm: Norm) -> None:
    delta, epsilon = 2 * some_images(6) - 1, torch.tensor([0.0, 0.1, 0.5, 1.0, 3.0, 90.0])
    found = project(delta, norm, epsilon.double().view(-1, 1, 1, 1))
    for k in range(6):
        wanted = project(delta[k : k + 1], norm, float(epsilon[k]))
        torch.testing.assert_close(found[k : k + 1], wanted, rtol=0, atol=1e-12)


def test_l0_keeps_whole_pixels() -> None:
    delta = torch.zeros(1, 3, 2, 2)
    delta[0, :, 0, 0], delta[0, 0, 1, 1], delta[0, 1, 0, 1] = 0.6, 0.9, 0.1
    kept = project(delta, "l0", 1.0)
    assert torch.equal(kept[0, :, 0, 0], delta[0, :, 0, 0]) and distances(kept, "l0") == 1
