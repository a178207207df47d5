"""Rounded weights: small on disk, wrong by at most half a step, integers untouched."""

import pytest
import torch

from armsrace.models.zoo import packed, unpacked


def state() -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 3, 5, 5, generator=draws) * torch.logspace(-4, 1, 6).view(6, 1, 1, 1)
    weight[3] = 0
    return {
        "weight": weight,
        "bias": torch.randn(6, generator=draws),
        "seen": torch.tensor(7),
    }


def test_a_row_is_wrong_by_at_most_half_a_step() -> None:
    original = state()
    kept = packed(original, torch.int8)
    assert kept["weight"].dtype == torch.int8 and kept["bias"].dtype == torch.float32
    found = unpacked(kept)
    assert found.keys() == original.keys()
    step = original["weight"].flatten(1).abs().amax(dim=1).view(-1, 1, 1, 1) / 127
    wrong = (found["weight"] - original["weight"]).abs()
    assert (wrong <= 0.5001 * step).all() and wrong.max() > 0
    assert torch.equal(found["bias"], original["bias"]) and found["seen"] == 7


def test_what_was_rounded_once_stays() -> None:
    once = unpacked(packed(state(), torch.int8))
    twice = unpacked(packed(once, torch.int8))
    torch.testing.assert_close(once["weight"], twice["weight"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_types_round_what_is_floating(dtype: torch.dtype) -> None:
    kept = packed(state(), dtype)
    assert kept["weight"].dtype == dtype and kept["seen"].dtype == torch.int64
    found = unpacked(kept)
    assert found["weight"].dtype == torch.float32
    torch.testing.assert_close(found["bias"], state()["bias"], rtol=1e-3, atol=0)
