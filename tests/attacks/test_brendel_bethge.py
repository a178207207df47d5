"""The step of Brendel and Bethge's attack is the best one, and the attack follows the boundary."""

from __future__ import annotations

from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.minimal import brendel_bethge
from armsrace.attacks.minimal.brendel_bethge import trust_region_step
from armsrace.contracts import UNIT, Bounds, Norm
from armsrace.norms import distances
from tests.attacks.linear import two_classes

Digits = tuple[Tensor, Tensor]
Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""x̃, x, b (N, 1, 1, P), c, r (N,)."""
NORMS: tuple[Norm, ...] = ("l2", "linf", "l1", "l0")


def problems(seed: int, count: int = 12, size: int = 5) -> Given:
    """Random problems, with pixels at the ends of the box and values of b that are zero."""
    draws = torch.Generator().manual_seed(seed)
    shape = count, 1, 1, size
    x_tilde, x = (
        (1.6 * torch.rand(shape, generator=draws, dtype=torch.float64) - 0.3).clamp(0, 1)
        for _ in range(2)
    )
    b = torch.randn(shape, generator=draws, dtype=torch.float64)
    b[torch.rand(shape, generator=draws) < 0.1] = 0
    b *= 10.0 ** torch.randint(-20, 20, (count, 1, 1, 1), generator=draws)
    c = 0.4 * torch.randn(count, generator=draws, dtype=torch.float64) * b.flatten(1).norm(dim=1)
    return x_tilde, x, b, c, 1.2 * torch.rand(count, generator=draws, dtype=torch.float64)


def along(b: Tensor, delta: Tensor) -> Tensor:
    return (b * delta).flatten(1).sum(dim=1)


def best_by_slsqp(
    target: np.ndarray, b: np.ndarray, c: float, r: float, lower: np.ndarray, upper: np.ndarray,
    norm: Norm, first: np.ndarray,
) -> float:  # fmt: skip
    """The least norm of δ − target, by scipy; extra variables z bound absolute values."""
    size = len(target)
    extra = {"l2": 0, "l1": size, "linf": 1}[norm]
    constraints = [
        {"type": "eq", "fun": lambda v: b @ v[:size] - c},
        {"type": "ineq", "fun": lambda v: r**2 - v[:size] @ v[:size]},
        {"type": "ineq", "fun": lambda v: v[size:] - (v[:size] - target) if extra else 1.0},
        {"type": "ineq", "fun": lambda v: v[size:] + (v[:size] - target) if extra else 1.0},
    ]
    start = np.concatenate([first, np.full(extra, np.abs(first - target).max())])
    found = minimize(
        lambda v: v[size:].sum() if extra else ((v - target) ** 2).sum(), start, method="SLSQP",
        bounds=[*zip(lower, upper, strict=True), *[(0, None)] * extra], constraints=constraints,
        options={"ftol": 1e-13, "maxiter": 300},
    )  # fmt: skip
    if not found.success:
        return np.inf
    return float(found.fun) if extra else float(found.fun) ** 0.5


def check_feasible(given_: Given, delta: Tensor, bounds: Bounds = UNIT) -> Tensor:
    """In the box and the ball; on the plane, or as near to it as scipy comes. Which are on it."""
    _, x, b, c, r = given_
    assert (x + delta >= bounds.lower).all() and (x + delta <= bounds.upper).all()
    assert (delta.flatten(1).norm(dim=1) <= r * (1 + 1e-9)).all()
    on_plane = (along(b, delta) - c).abs() <= 1e-4 * c.abs()
    for k in (~on_plane).nonzero()[:, 0]:
        normal = (b[k] / b[k].norm()).flatten().numpy() * float(c[k].sign())
        room = zip(*((end - x[k]).flatten().numpy() for end in (0, 1)), strict=True)
        found = minimize(
            lambda v, normal=normal: -normal @ v, np.zeros(len(normal)), method="SLSQP",
            bounds=list(room), options={"ftol": 1e-13, "maxiter": 300},
            constraints={"type": "ineq", "fun": lambda v, k=k: float(r[k]) ** 2 - v @ v},
        )  # fmt: skip
        ours = float(along(b, delta)[k] / b[k].norm() * c[k].sign())
        assert ours >= -found.fun - 1e-6, "another step comes nearer to the plane"
        assert -found.fun <= float(c[k].abs() / b[k].norm()) * (1 + 1e-3), "the plane is reached"
    return on_plane


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@given(seed=st.integers(0, 2**20))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_the_step_is_as_good_as_scipys(norm: Norm, seed: int) -> None:
    x_tilde, x, b, c, r = posed = problems(seed)
    with patch.multiple(brendel_bethge, ROUNDS=40, NEWTON_STEPS=30, CLOSE=1e-5):
        delta = trust_region_step(*posed, UNIT, norm)
    on_plane = check_feasible(posed, delta)
    hasty = trust_region_step(*posed, UNIT, norm)
    assert torch.equal(check_feasible(posed, hasty), on_plane) and on_plane.any()
    ours = distances(x + delta - x_tilde, norm)
    for k in on_plane.nonzero()[:, 0]:
        length = b[k].norm()
        parts = (x_tilde[k] - x[k], b[k] / length, 0 - x[k], 1 - x[k], delta[k])
        target, normal, lower, upper, first = (part.flatten().numpy() for part in parts)
        best = best_by_slsqp(
            target, normal, float(c[k] / length), float(r[k]), lower, upper, norm, first
        )
        assert ours[k] <= best + 1e-3 * r[k]
        # As the attack has it, in six rounds.
        assert distances((x + hasty - x_tilde)[k : k + 1], norm) <= best + 0.02 * r[k]


def test_in_l0_the_step_is_near_the_best_of_all_sets_of_pixels() -> None:
    """Each set of pixels to leave changed is tried; the others are reset to the clean image."""
    excess = []
    for seed in range(4):
        x_tilde, x, b, c, r = posed = problems(seed)
        delta = trust_region_step(*posed, UNIT, "l0")
        ours = distances(x + delta - x_tilde, "l0")
        left = torch.tensor(list(product([False, True], repeat=x.shape[-1])))
        for k in check_feasible(posed, delta).nonzero()[:, 0]:
            reset = (x_tilde - x)[k].flatten() * ~left
            square = r[k] ** 2 - reset.square().sum(dim=1)
            rest = c[k] - reset @ b[k].flatten()
            held, normal = (
                part.expand(len(left), -1).reshape(-1, *x.shape[1:])
                for part in (x[k].flatten(), b[k].flatten() * left)
            )
            step = trust_region_step(
                held, held, normal, rest, square.clamp_min(0).sqrt(), UNIT, "l2"
            )  # fmt: skip
            reached = (along(normal, step) - rest).abs() <= 1e-4 * c[k].abs()
            fits = step.flatten(1).square().sum(dim=1) <= square * (1 + 1e-9)
            fewest = left.sum(dim=1)[reached & fits].min()
            excess.append(float(ours[k] - fewest))
    assert np.mean(excess) < 0.7 and np.mean(np.array(excess) == 0) >= 0.5


@pytest.mark.parametrize("norm", NORMS)
def test_corner_cases(norm: Norm) -> None:
    x = torch.tensor([[0.0, 1.0, 0.5, 0.5]], dtype=torch.float64).view(1, 1, 1, 4)
    x_tilde = torch.full_like(x, 0.5)
    one = torch.ones(1, dtype=torch.float64)
    slope = torch.tensor([-1.0, 1.0, 0.0, 0.0], dtype=torch.float64).view_as(x)

    def step(b: Tensor, c: Tensor, r: Tensor) -> Tensor:
        return trust_region_step(x_tilde, x, b, c, r, UNIT, norm)

    # No gradient, or the box holds back every pixel that has one.
    assert torch.equal(step(0 * slope, one, one), 0 * x)
    assert torch.equal(step(slope, one, one), 0 * x)
    # On the plane already, with a ball of no size.
    assert torch.equal(step(slope, 0 * one, 0 * one), 0 * x)
    # The plane is outside the ball: straight to it, as far as the ball permits.
    torch.testing.assert_close(step(slope, -one, 0.1 * one), -0.1 * slope / 2**0.5)
    # The plane is beyond the box: to the corner.
    torch.testing.assert_close(step(slope, -9 * one, 9 * one), -slope)
    # The clean image is on the plane and in the ball.
    torch.testing.assert_close(step(slope, -one, one), x_tilde - x, rtol=0, atol=1e-5)
    # Without a gradient and on the plane, the clean image is best, too.
    torch.testing.assert_close(step(0 * slope, 0 * one, one), x_tilde - x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_solved_as_if_it_were_alone(norm: Norm) -> None:
    posed = problems(3, size=40)
    together = trust_region_step(*posed, UNIT, norm)
    for k in range(len(together)):
        x_tilde, x, b, c, r = (part[k : k + 1] for part in posed)
        alone = trust_region_step(x_tilde, x, b, c, r, UNIT, norm)
        torch.testing.assert_close(alone, together[k : k + 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_the_step_scales_with_the_box(norm: Norm) -> None:
    x_tilde, x, b, c, r = problems(5, size=40)
    once = trust_region_step(x_tilde, x, b, c, r, UNIT, norm)
    scaled = trust_region_step(
        255 * x_tilde, 255 * x, b, 255 * c, 255 * r, Bounds(0, 255), norm
    )  # fmt: skip
    torch.testing.assert_close(scaled / 255, once, rtol=0, atol=1e-4)


@pytest.mark.parametrize("aimed", [False, True])
@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_it_finds_the_boundary_of_a_linear_model(norm: Norm, aimed: bool) -> None:
    model, images, labels, exact = two_classes(norm)
    found = attacks.brendel_bethge(
        model, images, labels, norm=norm, targets=1 - labels if aimed else None, steps=40,
        decays=1, bounds=Bounds(-20, 20),
    )  # fmt: skip
    sizes = distances(found.images - images, norm)
    assert found.success.all()
    assert (sizes >= exact * (1 - 1e-9)).all()
    assert (sizes <= exact * 1.001).all()


@pytest.mark.parametrize("norm", NORMS)
def test_it_comes_nearer_than_where_it_starts(
    norm: Norm, s3_cnn: nn.Module, digits: Digits
) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    start = attacks.ddn(s3_cnn, images, labels, steps=20)
    found = attacks.brendel_bethge(s3_cnn, images, labels, norm=norm, steps=30, start=start.images)
    before, after = (distances(r.images - images, norm) for r in (start, found))
    assert found.success.all() and (after <= before).all()
    assert after.median() < {"l2": 0.99, "linf": 0.7, "l1": 0.7, "l0": 0.2}[norm] * before.median()


def test_patience_saves_steps(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    whole = attacks.brendel_bethge(s3_cnn, images, labels, steps=60)
    short = attacks.brendel_bethge(s3_cnn, images, labels, steps=60, patience=8)
    sizes = [distances(found.images - images, "l2") for found in (whole, short)]
    assert short.gradients.sum() < 0.8 * whole.gradients.sum()
    assert short.success.all() and sizes[1].median() <= 1.01 * sizes[0].median()


def test_a_start_must_be_adversarial(trained: nn.Module, digits: Digits) -> None:
    images = digits[0][:4]
    with torch.no_grad():
        labels = trained(images).argmax(dim=1)
    with pytest.raises(ValueError, match="start must be adversarial, got 4 of 4 that are not"):
        attacks.brendel_bethge(trained, images, labels, start=images)
    with pytest.raises(ValueError, match="start must have shape"):
        attacks.brendel_bethge(trained, images, labels, start=images[:2])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"norm": "l3"}, "norm must be one of linf, l2, l1, l0, got 'l3'"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"decays": 0}, "decays must be >= 1, got 0"),
        ({"binary_search_steps": -1}, "binary_search_steps must be >= 0, got -1"),
        ({"patience": 0}, "patience must be >= 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be >= 0, got -1"),
        ({"decay": 1.5}, "decay must be <= 1, got 1.5"),
        ({"momentum": 1.5}, "momentum must be <= 1, got 1.5"),
        ({"overshoot": 0.9}, "overshoot must be >= 1, got 0.9"),
    ],
)
def test_bad_options(
    trained: nn.Module, digits: Digits, options: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.brendel_bethge(trained, digits[0][:2], digits[1][:2], **options)
