"""Call functions of another process without trusting it: values travel as JSON and safetensors.

Nothing is unpickled. A function travels as a number, by which the other end calls it where it
lives, and gradients flow through such a call: its backward pass is a call of its own. So a check
here and an answer there work with each other's functions as in one process, and share no memory.
Of an object only those parts travel that its class lists in `travels`.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy
import torch
from safetensors.torch import load, save
from torch import Generator, Tensor

LARGEST_BYTES = 1 << 28
GRAPHS = 1000
"""So many of the last calls can still be differentiated."""
HEADER = struct.Struct("<II")

Frame = tuple[dict[str, Any], list[Tensor]]


class ConnectionBroken(Exception):  # noqa: N818
    """The other process ended, took too long, or sent what is no message."""


class RemoteError(Exception):
    """A function of the other process raised this."""

    def __repr__(self) -> str:
        return str(self)


class Opaque:
    """A value of the other process that cannot travel."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class RemoteFunction:
    """A function of the other process."""

    def __init__(self, end: End, number: int) -> None:
        self.end, self.number = end, number

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it there."""
        return self.end.call(self.number, arguments, named)


class RemoteObject:
    """An object of the other process, with the parts that its class lists in `travels`."""

    def __init__(self, parts: dict[str, Any], call: RemoteFunction | None) -> None:
        self._parts, self._call = parts, call

    def __getattr__(self, name: str) -> Any:
        """A part of this name."""
        parts = self.__dict__.get("_parts", {})
        if name in parts:
            return parts[name]
        raise AttributeError(f"it has no {name!r}: its parts are {', '.join(parts)}")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call it there."""
        if self._call is None:
            raise TypeError("it is no function")
        return self._call(*arguments, **named)


def pack(message: dict[str, Any], tensors: Sequence[Tensor]) -> bytes:
    """A message and its tensors as bytes, behind the two parts' lengths."""
    head = json.dumps(message).encode()
    # A copy each, since safetensors refuses tensors that share their memory.
    copies = {str(i): part.detach().cpu().contiguous().clone() for i, part in enumerate(tensors)}
    body = save(copies) if copies else b""
    return HEADER.pack(len(head), len(body)) + head + body


def unpack(read: Callable[[int], bytes]) -> Frame:
    """The next message, by a function that reads so many bytes; ConnectionBroken without one."""
    lengths = read(HEADER.size)
    if len(lengths) < HEADER.size:
        raise ConnectionBroken("ended its process")
    head, body = HEADER.unpack(lengths)
    if head + body > LARGEST_BYTES:
        raise ConnectionBroken(f"returned more than {LARGEST_BYTES >> 20} MiB")
    try:
        message = json.loads(read(head))
        found = load(read(body)) if body else {}
        tensors = [found[str(index)] for index in range(len(found))]
        if not isinstance(message["do"], str):
            raise TypeError("`do` must be a word")
    except Exception as error:  # Whatever a stranger's bytes may do to the parsers.
        raise ConnectionBroken(f"sent what is no message: {error!r}") from error
    return message, tensors


class End:
    """One end of the line.

    Args:
        write: sends bytes.
        receive: waits for the other end's next message.
        give_up: called with the reason if what comes is no answer.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        receive: Callable[[], Frame],
        give_up: Callable[[str], object] = lambda reason: None,
    ) -> None:
        self._write, self._receive, self._give_up = write, receive, give_up
        self._functions: list[Callable[..., Any]] = []
        self._graphs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self._calls = self._asked = 0
        self.copies_back = False
        """Whether a tensor that the other end changes in place is changed here, too."""
        self.changed = False
        """Whether the other end has changed a tensor that it was given."""

    def broken(self, reason: str) -> ConnectionBroken:
        """The error for what the other end has sent, with which the connection ends."""
        self._give_up(reason)
        return ConnectionBroken(reason)

    def ask(self, message: dict[str, Any], tensors: Sequence[Tensor] = ()) -> Frame:
        """Send a message and return the reply; meanwhile the other end's calls are answered."""
        self._asked += 1
        id = self._asked
        self._write(pack(message | {"id": id}, tensors))
        while True:
            reply, found = self._receive()
            if reply["do"] not in ("return", "error"):
                self._write(self.answer(reply, found))
            elif reply.get("id") != id:
                raise self.broken("sent a reply to what was not asked")
            elif reply["do"] == "error":
                raise RemoteError(str(reply.get("text")))
            else:
                return reply, found

    def answer(self, message: dict[str, Any], tensors: list[Tensor]) -> bytes:
        """The reply to a call of the other end, or to its backward pass."""
        try:
            if message["do"] == "call":
                return self._called(message, tensors)
            if message["do"] == "backward":
                return self._backward(message, tensors)
            raise ValueError(f"unknown message {message['do']!r}")
        except ConnectionBroken:
            raise
        except (Exception, SystemExit) as error:
            reply = {"do": "error", "id": message.get("id"), "text": repr(error)[:1000]}
            return pack(reply, ())

    def call(self, number: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call the other end's function of this number."""
        tensors: list[Tensor] = []
        body = [self.encode(arguments, tensors), self.encode(named, tensors)]
        wanted = [torch.is_grad_enabled() and part.requires_grad for part in tensors]
        call = _Call(self, number, body, wanted)
        outputs = _Remote.apply(call, *tensors) if any(wanted) else call.forward(*tensors)
        return self.decode(call.value, list(outputs))

    def _called(self, message: dict[str, Any], tensors: list[Tensor]) -> bytes:
        """Call a function of this end."""
        wanted = message["wanted"]
        inputs = [part.requires_grad_(want) for part, want in zip(tensors, wanted, strict=True)]
        before = [part.detach().clone() for part in inputs]
        arguments, named = (self.decode(part, inputs) for part in message["arguments"])
        with torch.enable_grad():
            value = self._functions[message["function"]](*arguments, **named)
        outputs: list[Tensor] = []
        body = self.encode(value, outputs)
        differentiable = [any(wanted) and part.requires_grad for part in outputs]
        self._calls += 1
        if any(differentiable):
            self._graphs[self._calls] = inputs, outputs
            self._graphs.pop(self._calls - GRAPHS, None)
        changed = [
            index
            for index, (old, new) in enumerate(zip(before, inputs, strict=True))
            if not _same(old, new.detach())
        ]
        reply = {
            "do": "return", "id": message["id"], "value": body, "graph": self._calls,
            "outputs": len(outputs), "differentiable": differentiable, "changed": changed,
        }  # fmt: skip
        return pack(reply, [*outputs, *(inputs[index] for index in changed)])

    def _backward(self, message: dict[str, Any], tensors: list[Tensor]) -> bytes:
        """The gradients of a call's inputs from those of its outputs."""
        inputs, outputs = self._graphs[message["graph"]]
        pairs = [pair for pair in zip(outputs, tensors, strict=True) if pair[0].requires_grad]
        leaves = [part for part in inputs if part.requires_grad]
        found = torch.autograd.grad(
            [output for output, _ in pairs], leaves, [grad for _, grad in pairs],
            retain_graph=True, allow_unused=True,
        )  # fmt: skip
        grads = [torch.zeros_like(leaf) if grad is None else grad
                 for leaf, grad in zip(leaves, found, strict=True)]  # fmt: skip
        return pack({"do": "return", "id": message["id"]}, grads)

    def encode(self, value: Any, tensors: list[Tensor]) -> Any:
        """A value as JSON; its tensors are appended to the list."""
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int | float) and not isinstance(value, numpy.generic):
            return int(value) if isinstance(value, int) else float(value)
        if value is Ellipsis:
            return {"ellipsis": None}
        if isinstance(value, Tensor):
            tensors.append(value)
            return {"tensor": len(tensors) - 1}
        if isinstance(value, numpy.ndarray | numpy.generic):
            return self._encode_array(value, tensors)
        if isinstance(value, Generator):
            tensors.append(value.get_state())
            return {"generator": len(tensors) - 1}
        if isinstance(value, dict):
            pairs = [[self.encode(part, tensors) for part in pair] for pair in value.items()]
            return {"dict": pairs}
        if isinstance(value, RemoteFunction) and value.end is self:
            return {"home": value.number}
        if isinstance(value, RemoteObject) and value._call is not None:
            return self.encode(value._call, tensors)
        if isinstance(names := getattr(type(value), "travels", None), tuple):
            parts = {name: self.encode(getattr(value, name), tensors) for name in names}
            call = self.encode(value.__call__, tensors) if callable(value) else None
            return {"object": [parts, call]}
        if callable(value):
            self._functions.append(value)
            return {"function": len(self._functions) - 1}
        kind = next((one for one in (tuple, set) if isinstance(value, one)), list)
        if isinstance(value, Iterable):
            return {kind.__name__: [self.encode(part, tensors) for part in value]}
        with contextlib.suppress(TypeError, ValueError):
            return float(value)  # such as a fraction
        return {"opaque": repr(value)[:200]}

    def _encode_array(self, value: Any, tensors: list[Tensor]) -> Any:
        """An array of numpy, or a number of one of its types."""
        try:
            tensors.append(torch.from_numpy(numpy.ascontiguousarray(value).reshape(value.shape)))
        except TypeError:
            return {"opaque": repr(value)[:200]}
        return {"array" if isinstance(value, numpy.ndarray) else "number": len(tensors) - 1}

    def decode(self, value: Any, tensors: list[Tensor]) -> Any:
        """The value of JSON and tensors; ConnectionBroken if it is none."""
        if not isinstance(value, dict):
            return value
        try:
            ((kind, content),) = value.items()
            if kind == "ellipsis":
                return ...
            if kind in ("tensor", "array", "number"):
                tensor = tensors[content]
                return (
                    tensor
                    if kind == "tensor"
                    else tensor.numpy()
                    if kind == "array"
                    else tensor.numpy()[()]
                )
            if kind == "generator":
                return Generator().set_state(tensors[content])
            if kind == "dict":
                return {self.decode(k, tensors): self.decode(v, tensors) for k, v in content}
            if kind == "function":
                return RemoteFunction(self, int(content))
            if kind == "object":
                parts, call = content
                parts = {str(name): self.decode(part, tensors) for name, part in parts.items()}
                call = None if call is None else self.decode(call, tensors)
                if not (call is None or isinstance(call, RemoteFunction)):
                    raise TypeError("what is called must be a function")
                return RemoteObject(parts, call)
            if kind == "home":
                return self._functions[content]
            if kind == "opaque":
                return Opaque(str(content))
            return {"tuple": tuple, "set": set, "list": list}[kind](
                self.decode(part, tensors) for part in content
            )
        except (
            ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
        ) as error:  # fmt: skip
            raise self.broken(f"sent what is no value: {error!r}") from error


def _same(old: Tensor, new: Tensor) -> bool:
    """Whether two tensors hold the same, NaN included."""
    if old.shape != new.shape:
        return False
    return bool(((old == new) | ((old != old) & (new != new))).all())


class _Call:
    """A call of the other end's function, and what its backward pass needs."""

    def __init__(self, end: End, number: int, body: Any, wanted: list[bool]) -> None:
        self.end, self.number, self.body, self.wanted = end, number, body, wanted
        self.value: Any = None
        self.graph = 0
        self.differentiable: list[bool] = []

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors in the function's value."""
        message = {"do": "call", "function": self.number, "arguments": self.body}
        reply, found = self.end.ask(message | {"wanted": self.wanted}, tensors)
        try:
            self.value, self.graph = reply["value"], int(reply["graph"])
            self.differentiable = [bool(part) for part in reply["differentiable"]]
            count, changed = int(reply["outputs"]), [int(index) for index in reply["changed"]]
            if changed:
                self.end.changed = True
            if self.end.copies_back:
                for index, new in zip(changed, found[count:], strict=True):
                    if not self.wanted[index]:
                        tensors[index].detach().copy_(new)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise self.end.broken(f"sent what is no value: {error!r}") from error
        return tuple(found[:count])

    def backward(self, *grads: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the inputs that want one."""
        _, found = self.end.ask({"do": "backward", "graph": self.graph}, grads)
        if len(found) != sum(self.wanted):
            raise self.end.broken("sent too few gradients")
        return tuple(found)


class _Remote(torch.autograd.Function):
    """A call that can be differentiated, by `torch.autograd` and by `torch.func.grad`."""

    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        return call.forward(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None:
        ctx.call = inputs[0]
        ctx.save_for_backward(*inputs[1:])
        fixed = zip(output, ctx.call.differentiable, strict=True)
        ctx.mark_non_differentiable(*(part for part, differentiable in fixed if not differentiable))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # The inputs go along, so that a second derivative is refused and not taken for zero.
        found = iter(_Pullback.apply(ctx.call, len(grads), *grads, *ctx.saved_tensors))
        return None, *(next(found) if want else None for want in ctx.call.wanted)


class _Pullback(torch.autograd.Function):
    """The backward pass of a call; it has no derivative itself."""

    @staticmethod
    def forward(call: _Call, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return call.backward(*tensors[:count])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None: ...

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError("armsrace grade differentiates a model once, not twice")
