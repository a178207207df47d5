"""Bounds, results, and the checks that every layer makes with the same words."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armsrace import contracts
from armsrace.contracts import UNIT, AttackResult, Bounds

NAN, INFINITY = float("nan"), float("inf")
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]])


def test_bounds_clip_to_both_ends() -> None:
    values = torch.tensor([-INFINITY, -0.5, 0.0, 0.3, 1.0, 7.0])
    assert UNIT.clip(values).tolist() == pytest.approx([0, 0, 0, 0.3, 1, 1])
    assert Bounds(-0.5, 0.5).clip(values).tolist() == pytest.approx([-0.5, -0.5, 0, 0.3, 0.5, 0.5])


@pytest.mark.parametrize(
    ("ends", "rule"),
    [
        ((1.0, 0.0), "bounds.lower must be < bounds.upper, got 1.0, 0.0"),
        ((0.5, 0.5), "bounds.lower must be < bounds.upper"),
        ((0.0, INFINITY), "bounds must be finite"),
        ((NAN, 1.0), "bounds must be finite"),
    ],
)
def test_bad_bounds_are_named(ends: tuple[float, float], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        Bounds(*ends)


def test_bounds_and_results_are_values() -> None:
    with pytest.raises(AttributeError):
        UNIT.upper = 2.0  # type: ignore[misc]
    count = torch.zeros(3, dtype=torch.int64)
    assert len(AttackResult(torch.zeros(3, 1, 2, 2), count.bool(), count, count)) == 3


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    lower=st.floats(-300, 300, width=64), length=st.floats(1e-3, 300, width=64),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
)  # fmt: skip
def test_clipped_images_always_lie_in_their_bounds(
    lower: float, length: float, dtype: torch.dtype
) -> None:
    """Also where the bound is no number of the dtype, as 0.1 is none of float32."""
    bounds = Bounds(lower, lower + length)
    images = torch.tensor([-1000.0, 1000.0, lower], dtype=dtype).view(1, 1, 1, 3)
    contracts.check_images(bounds.clip(images), bounds)


def test_images_just_outside_are_refused() -> None:
    above = torch.full((1, 1, 1, 1), 0.1).nextafter(torch.tensor(1.0))
    with pytest.raises(ValueError, match=re.escape("images must lie in [0.0, 0.1]")):
        contracts.check_images(above, Bounds(0.0, 0.1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_good_images_of_every_dtype_pass(dtype: torch.dtype) -> None:
    contracts.check_images(torch.tensor([0.0, 1.0]).to(dtype).view(1, 1, 1, 2))


def test_good_labels_and_logits_pass() -> None:
    contracts.check_labels(torch.tensor([0, 9]), 2)
    contracts.check_classes(torch.tensor([0, 2]), 3)
    contracts.check_logits(LOGITS, 2)
    contracts.check_logits(LOGITS.log_softmax(dim=1), 2)
    # One row that happens to look like probabilities does not condemn the others.
    contracts.check_logits(torch.cat([LOGITS.softmax(dim=1)[:1], LOGITS[1:]]), 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_are_recognised(dtype: torch.dtype) -> None:
    wide = torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert contracts.are_probabilities((10 * wide).softmax(dim=1))
    assert not contracts.are_probabilities(wide)
    assert not contracts.are_probabilities(wide.softmax(dim=1) * 1.01)
    with pytest.raises(ValueError, match="model must return logits, got probabilities"):
        contracts.check_logits(wide.softmax(dim=1), 50)


@pytest.mark.parametrize(
    ("logits", "rule"),
    [
        (LOGITS[0], "model must return logits of shape (2, K), got (3,)"),
        (LOGITS[:1], "model must return logits of shape (2, K), got (1, 3)"),
        ([1, 2], "model must return logits of shape (2, K), got list"),
        (LOGITS[:, :1], "model must return at least 2 logits per image, got 1"),
        (LOGITS / 0, "model must return finite logits, got NaN or infinity"),
    ],
)
def test_bad_logits_are_named(logits: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        contracts.check_logits(logits, 2)


def test_numbers_are_checked() -> None:
    contracts.check_at_least("epsilon", 0, 0)
    contracts.check_count("steps", 1)
    contracts.check_choice("norm", "l2", ("l1", "l2"))
    for value, got in ((-0.1, "-0.1"), (NAN, "nan"), (INFINITY, "inf")):
        with pytest.raises(ValueError, match=f"epsilon must be >= 0, got {got}"):
            contracts.check_at_least("epsilon", value, 0)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        contracts.check_count("steps", 0)
    for wrong in (1.0, "3", True, None):
        with pytest.raises(TypeError, match=f"steps must be an integer, got {wrong!r}"):
            contracts.check_count("steps", wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="norm must be one of l1, l2, got 'l3'"):
        contracts.check_choice("norm", "l3", ("l1", "l2"))
