"""Another machine's rounding, so that a test which depends on the last bit fails on this one.

`pytest --perturb 1` changes what convolutions, products of matrices, reductions and transcendental
functions return, forward and backward, by about one rounding of the sum, as another instruction
set, library or number of threads does. The same operands in a batch of the same size give the same
result, as on any machine; a value that was computed without rounding, such as a sum of small
integers, stays as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
PRODUCTS = {
    aten.convolution, aten.convolution_backward, aten.mm, aten.bmm, aten.addmm, aten.baddbmm,
    aten.mv, aten.dot, aten.addmv,
}  # fmt: skip
"""Sums of products of either sign, whose rounding is as large as that of their greatest term."""
OTHERS = {
    aten.sum, aten.mean, aten.var, aten.std, aten.linalg_vector_norm, aten.logsumexp, aten.exp,
    aten.log, aten.tanh, aten.sigmoid, aten._softmax, aten._log_softmax, aten.native_batch_norm,
    aten._native_batch_norm_legit_no_training, aten.native_batch_norm_backward,
}  # fmt: skip
"""Rounded in proportion to the result."""
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
FREE_BITS = 255
"""A rounded value has a bit among its last eight that is not 0, in 255 of 256 cases."""


class Perturbation(TorchDispatchMode):
    """While entered, the operations above round in a way of their own for each seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        products = func.overloadpacket in PRODUCTS
        if products or func.overloadpacket in OTHERS:
            for part in result if isinstance(result, tuple) else (result,):
                if isinstance(part, Tensor) and part.dtype in INTEGERS and part.numel():
                    perturb(part, self.seed, by_row=products)
        return result


def perturb(values: Tensor, seed: int, by_row: bool) -> None:
    """Move each rounded value by one rounding of its own size or of its row's greatest, in place.

    A tensor that holds an infinity or NaN stays as it is; one without a negative value keeps to it.
    """
    row = tuple(range(1, values.ndim)) if by_row else ()
    greatest = values.abs().amax(dim=row, keepdim=True) if row else values.abs()
    if not greatest.isfinite().all():
        return
    bits = values.contiguous().view(INTEGERS[values.dtype])
    # A multiplicative hash of the bits chooses up, down or neither; the batch's size is a part of
    # it, as it is of the order in which a library adds up.
    rows = values.shape[0] if values.ndim else 1
    mixed = bits.mul(-1640531535).add_(7919 * seed + rows).bitwise_right_shift_(13)
    step = mixed.bitwise_and_(3).sub_(1).clamp_(max=1).to(values.dtype)
    step.mul_(bits.bitwise_and(FREE_BITS) != 0)
    positive = bool(values.amin() >= 0)
    values.add_(step.mul_(torch.finfo(values.dtype).eps * greatest))
    if positive:
        values.clamp_(min=0)
