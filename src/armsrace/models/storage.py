"""How weights are kept on disk: as they are, as float16, or as int8 with a scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

_SCALE = ".scale"


def packed(state: dict[str, Tensor], storage: torch.dtype) -> dict[str, Tensor]:
    """The weights (name: any shape) rounded to `storage`; integers stay as they are.

    With torch.int8 each matrix or filter bank keeps, for each of its outputs (the first dimension),
    the nearest multiples of a 127th of its largest weight, and that step under "NAME.scale"; what
    has fewer than two dimensions stays float32. A quarter of float32's size, and wrong by at most
    half a step.
    """
    if storage is not torch.int8:
        return {
            name: (value.to(storage) if value.is_floating_point() else value).contiguous()
            for name, value in state.items()
        }
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        result[name] = value.contiguous()
        if value.is_floating_point() and value.ndim >= 2:
            step = value.flatten(1).abs().amax(dim=1).clamp_min(1e-30) / 127
            result[name + _SCALE] = step
            result[name] = (value / _along_rows(step, value)).round().to(torch.int8).contiguous()
    return result


def unpacked(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` has rounded, in float32; integers that have no scale stay as they are."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in state:
            continue
        step = state.get(name + _SCALE)
        if step is not None:
            result[name] = value.float() * _along_rows(step, value)
        else:
            result[name] = value.float() if value.is_floating_point() else value
    return result


def _along_rows(step: Tensor, value: Tensor) -> Tensor:
    return step.view(-1, *[1] * (value.ndim - 1))
