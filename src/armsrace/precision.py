"""Reduced precision on hardware that supports it.

A bfloat16 convolution takes half the time of a float32 one on a processor with AVX-512-BF16 or AMX,
but 4 to 17 times as long on one without, as in most laptops. The project therefore calls
`reduced_precision`, and computes in float32 if it returns None.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

logger = logging.getLogger("armsrace")


def reduced_precision(device: torch.device | str = "cpu") -> torch.dtype | None:
    """bfloat16 if a device multiplies it natively; None if float32 is faster.

    The choice is logged once per kind of device.

    Args:
        device: on which the network runs.

    Returns:
        A dtype for `autocast`, `LatentSearch.precision` and the recipes.

    Example:
        >>> from armsrace.precision import reduced_precision
        >>> reduced_precision("cpu") in (torch.bfloat16, None)
        True
    """
    return _reduced(torch.device(device).type)


@cache
def _reduced(kind: str) -> torch.dtype | None:
    """The dtype of a kind of device."""
    native = NATIVE.get(kind, lambda: False)()
    logger.info("%s: reduced precision is %s", kind, "bfloat16" if native else "off (float32)")
    return torch.bfloat16 if native else None


def _cpu_has_bfloat16() -> bool:
    """Whether oneDNN has native instructions for bfloat16.

    oneDNN's own answer is not enough. It is yes on any AVX-512 processor, although bfloat16 is
    emulated there, three times slower than float32 (measured). It is no if `ONEDNN_MAX_CPU_ISA`
    excludes AVX-512.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    supported = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    x86 = torch.cpu._is_avx2_supported()
    return supported and (not x86 or torch.cpu._is_avx512_bf16_supported())


def _cuda_has_bfloat16() -> bool:
    """Whether the GPU multiplies bfloat16 natively."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


NATIVE: dict[str, Callable[[], bool]] = {"cpu": _cpu_has_bfloat16, "cuda": _cuda_has_bfloat16}
"""By kind of device. All other kinds compute in float32."""


def autocast(
    device: torch.device | str, dtype: torch.dtype | None
) -> AbstractContextManager[object]:
    """torch's autocast to a dtype; no context at all for None.

    torch.autocast(enabled=False) fails on devices without autocast.
    """
    if dtype is None:
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype)
