"""Runs a case on the CPU and on the second device, in a process of its own, and compares.

The process is another since `second_device` must be imported before autograd has run once, and
would then be every test's accelerator. It is started once, by the first test that needs it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from armsrace import precision

Case = Callable[..., Any]
"""A device and more to tensors, numbers and dataclasses, tuples and dicts of them."""


def run_there(test: Callable[..., None], *arguments: Any) -> None:
    """The function of a module, called in the process that has the second device."""
    _process().submit(test, *arguments).result()


def same_on_both(case: Case, *arguments: Any) -> None:
    """The case gives the same on the second device as on the CPU, and its tensors are there."""
    run_there(compare, case, *arguments)


def compare(case: Case, *arguments: Any) -> None:
    """As `same_on_both`, in this process."""
    from tests.second_device import DEVICE

    outcomes = []
    for device in (torch.device("cpu"), DEVICE):
        torch.manual_seed(0)
        outcomes.append(_leaves(case(device, *arguments)))
    near, far = outcomes
    assert near and near.keys() == far.keys(), f"{near.keys()} but {far.keys()}"
    for name, value in near.items():
        other = far[name]
        if isinstance(value, Tensor):
            assert value.device.type == "cpu" and other.device == DEVICE, f"{name} is elsewhere"
            assert other.dtype == value.dtype, f"{name} is {other.dtype}, not {value.dtype}"
            value, other = value.detach(), other.detach().cpu()
        if isinstance(value, (Tensor, float)):
            message = partial("{}: {}".format, name)
            torch.testing.assert_close(other, value, msg=message, equal_nan=True)
        else:
            assert other == value, f"{name} is {other}, not {value}"


def _leaves(outcome: Any, name: str = "outcome") -> dict[str, Any]:
    if isinstance(outcome, (tuple, list)):
        parts = {f"{name}[{place}]": part for place, part in enumerate(outcome)}
    elif isinstance(outcome, dict):
        parts = {f"{name}[{key!r}]": part for key, part in outcome.items()}
    elif is_dataclass(outcome):
        parts = {f"{name}.{field.name}": getattr(outcome, field.name) for field in fields(outcome)}
    else:
        return {name: outcome}
    return {key: leaf for at, part in parts.items() for key, leaf in _leaves(part, at).items()}


@cache
def _process() -> ProcessPoolExecutor:
    spawning = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=spawning, initializer=_begin)


def _begin() -> None:
    from tests import second_device  # noqa: F401 (before the first backward pass)

    torch.set_num_threads(1)
    # The device computes in float32, and so must what it is compared with.
    precision.NATIVE["cpu"] = lambda: False
