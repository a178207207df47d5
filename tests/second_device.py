"""A torch device that is not the CPU, made of the CPU's memory: what a GPU would show, without one.

Importing it registers the device "elsewhere" for the whole process (torch's Python backend for the
PrivateUse1 key), before the first backward pass, or autograd has no queue for it; so `elsewhere`
does that in a process of its own. `images.to("elsewhere")` then is a tensor whose numbers come from
the CPU's kernels, and which fails where a GPU would, or where it would be slow or draw other
numbers:

- a CPU tensor of one or more dimensions meets one of the device, also as an index;
- a part of a tensor is assigned from the other device (`tensor[rows] = …`), a silent transfer;
- a CPU generator draws on the device, or its own one draws, whose numbers are not the CPU's;
- NumPy asks for its memory.

Its module, `torch.elsewhere`, keeps a state of random numbers for `torch.manual_seed` and
`fork_rng`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._mode_utils import no_dispatch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
MOVES = ("_to_copy", "copy_", "_copy_from", "_copy_from_and_resize")
DRAWS = (
    "bernoulli", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_",
    "multinomial", "native_dropout", "normal", "normal_", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "random_", "randperm", "uniform_",
)  # fmt: skip
FACTORIES = (
    "arange", "arange.start", "arange.start_step", "eye", "eye.m", "hann_window",
    "hann_window.periodic", "linspace", "logspace",
    "tril_indices", "triu_indices",
)  # fmt: skip
"""Operators that torch would compose of an empty tensor and a resizing one."""

PHYSICAL = {
    torch.ops.aten._conj.default: torch.ops.aten.conj_physical.default,
    torch.ops.aten._neg_view.default: torch.ops.aten.neg.default,
}
"""In place of views that only mark their memory, a mark that the device's own tensor lacks."""


class Random:
    """The device's module of torch: it has one device and one state of random numbers."""

    state = 0

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        self.state = seed

    def get_rng_state(self, device: object = NAME) -> Tensor:
        return torch.tensor(self.state)

    def set_rng_state(self, state: Tensor, device: object = NAME) -> None:
        self.state = int(state)


RANDOM = Random()
_setup_privateuseone_for_python_backend(NAME, backend_module=RANDOM)
DEVICE = torch.device(NAME, 0)


class Far(Tensor):
    """A tensor of the device; `near` is its memory, a tensor of the CPU."""

    near: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        far = Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(),
            dtype=near.dtype, device=DEVICE,
        )  # fmt: skip
        far.near = near
        return far

    def __init__(self, near: Tensor) -> None:
        """Torch's own would want the arguments of a constructor of numbers."""

    @classmethod
    def __torch_dispatch__(
        cls, operator: OpOverload, types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(operator, args, kwargs or {})

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __format__(self, specification: str) -> str:
        return format(self.near, specification)

    def __repr__(self, **_: Any) -> str:
        return f"{self.near!r} on {DEVICE}"


def run(operator: OpOverload, args: Any, kwargs: Any) -> Any:
    """One operator, on the memory of the device's tensors, and its results there."""
    name = operator._schema.name.partition("::")[2]
    tensors = _tensors(args) + _tensors(kwargs.values())
    far = [value for value in tensors if isinstance(value, Far)]
    wanted = kwargs.get("device")
    there = bool(far) if wanted is None else torch.device(wanted).type == NAME
    if far:
        _check_transfers(name, tensors, args)
    if there and name in DRAWS:
        own = "its own generator" if kwargs.get("generator") is None else "a CPU generator"
        raise RuntimeError(f"{name}: {own} draws on {DEVICE}")
    operator = PHYSICAL.get(operator, operator)
    near_kwargs = {key: _near(value) for key, value in kwargs.items()}
    result = operator(*[_near(value) for value in args], **near_kwargs)
    if not there or (name == "copy_" and not isinstance(args[0], Far)):
        return result
    if torch.Tag.inplace_view in operator.tags:
        with no_dispatch():
            operator(*args, **kwargs)
    known = {id(value.near): value for value in far}
    # In inference mode a view of an ordinary tensor is an ordinary one.
    views = any(value.alias_info is not None for value in operator._schema.returns)
    ordinary = views and any(not value.is_inference() for value in far)
    with torch.inference_mode(torch.is_inference_mode_enabled() and not ordinary):
        return _far(result, known)


def _far(result: Any, known: dict[int, Far]) -> Any:
    if isinstance(result, (tuple, list)):
        return type(result)(_far(value, known) for value in result)
    if not isinstance(result, Tensor):
        return result
    old = known.get(id(result))
    if old is not None and old.shape != result.shape:
        raise RuntimeError(f"a tensor of {DEVICE} is resized in place, which is not supported")
    return Far(result) if old is None else old


def _near(value: Any) -> Any:
    if isinstance(value, Far):
        return value.near
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    if isinstance(value, (tuple, list)):
        return type(value)(_near(part) for part in value)
    return value


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += _tensors(value)
    return found


def _check_transfers(name: str, tensors: list[Tensor], args: Any) -> None:
    near = [value for value in tensors if not isinstance(value, Far) and value.device.type == "cpu"]
    if name in MOVES:
        # A whole tensor is copied on purpose; a part of one is what an assignment writes to.
        if near and name == "copy_" and args[0]._is_view() and max(x.dim() for x in args[:2]):
            raise RuntimeError(f"{name}: a part of a tensor is assigned from the other device")
        return
    # torch takes numbers from the CPU, but for lists of tensors.
    whole = [value for value in near if value.dim() or name in ("cat", "stack")]
    if whole:
        shape = tuple(whole[0].shape)
        raise RuntimeError(f"{name}: a CPU tensor of shape {shape} meets one of {DEVICE}")


def _factory(name: str) -> Callable[..., Far]:
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def make(*args: Any, **kwargs: Any) -> Far:
        given = {key: value for key, value in kwargs.items() if value is not None}
        return Far(operator(*args, **given | {"device": "cpu"}))

    return make


def _through_the_cpu(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch.tensor and its like, which a backend in Python cannot reach."""

    def made(data: Any, *, dtype: Any = None, device: Any = None, **more: Any) -> Tensor:
        if device is None or torch.device(device).type != NAME or isinstance(data, Tensor):
            return make(data, dtype=dtype, device=device, **more)
        return make(data, dtype=dtype, **more).to(device)

    return made


_fallback = torch.library.Library("_", "IMPL")
_fallback.fallback(lambda operator, *args, **kwargs: run(operator, args, kwargs), "PrivateUse1")
_aten = torch.library.Library("aten", "IMPL")
for _name in FACTORIES:
    _aten.impl(_name, _factory(_name), "PrivateUse1")
torch.tensor, torch.as_tensor = (_through_the_cpu(make) for make in (torch.tensor, torch.as_tensor))
