"""Values, functions and gradients across the line between a check and an answer."""

from __future__ import annotations

import io
import json
import math
import queue
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy
import pytest
import torch

from armsrace.publishing.remote import HEADER, ConnectionBroken, End, RemoteError, pack, unpack


def line() -> tuple[End, End, queue.Queue[bytes], queue.Queue[bytes]]:
    """Two ends that write into each other's queues."""
    here: queue.Queue[bytes] = queue.Queue()
    there: queue.Queue[bytes] = queue.Queue()
    first = End(there.put, lambda: unpack(io.BytesIO(here.get(timeout=30)).read))
    second = End(here.put, lambda: unpack(io.BytesIO(there.get(timeout=30)).read))
    return first, second, here, there


@pytest.fixture
def across() -> Iterator[Callable[[Any], Any]]:
    """What arrives of a value that a thread at the other end has."""
    first, second, here, there = line()

    def serve() -> None:
        while content := there.get():
            message, tensors = unpack(io.BytesIO(content).read)
            here.put(second.answer(message, tensors))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def arrive(value: Any) -> Any:
        tensors: list[torch.Tensor] = []
        body = json.loads(json.dumps(second.encode(value, tensors)))
        return first.decode(body, tensors)

    yield arrive
    there.put(b"")
    thread.join()


@pytest.mark.parametrize(
    "value", [None, ..., True, 3, -2.5, math.inf, "text", (1, [2.0, {"a": (3,)}]), {4, 5}, {1: 2}]
)
def test_plain_values_arrive_as_they_are(across, value: object) -> None:
    arrived = across(value)
    assert arrived == value and type(arrived) is type(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_tensors_and_arrays_arrive_bit_for_bit(across, dtype: torch.dtype) -> None:
    value = torch.tensor([[0, 1], [1, 0]], dtype=dtype).T
    assert torch.equal(across(value), value) and across(value).dtype == dtype
    array = across(value.numpy())
    assert isinstance(array, numpy.ndarray) and array.dtype == value.numpy().dtype
    assert numpy.array_equal(array, value.numpy())
    assert torch.equal(across(torch.zeros(0, 3)), torch.zeros(0, 3))


def test_numbers_of_other_kinds_arrive_as_numbers(across) -> None:
    assert across(numpy.float32(0.5)) == 0.5 and across(numpy.int64(3)) == 3
    assert across(Fraction(1, 4)) == 0.25 and list(across(range(3))) == [0, 1, 2]
    assert "object" in repr(across(object()))
    first, second = (across(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))


def cubes(images: torch.Tensor) -> torch.Tensor:
    return (images**3).flatten(1).sum(dim=1)


def test_gradients_pass_by_every_way_that_students_take(across) -> None:
    model, images = across(cubes), torch.rand(3, 1, 2, 2, dtype=torch.float64)
    leaf = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(model(2 * leaf).sum(), leaf)
    expected = 24 * images**2
    assert torch.allclose(grad, expected)
    leaf = images.clone().requires_grad_()
    model(2 * leaf).sum().backward()
    assert torch.allclose(leaf.grad, expected)
    found = torch.func.grad(lambda batch: model(2 * batch).sum())(images)
    assert torch.allclose(found, expected)
    jacobian = torch.autograd.functional.jacobian(model, images)
    assert torch.allclose(jacobian.sum(dim=0), 3 * images**2)
    with torch.no_grad():
        assert not model(leaf).requires_grad
    assert not model(images).requires_grad


def test_a_second_derivative_is_refused_with_a_word(across) -> None:
    leaf = torch.rand(3, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(across(cubes)(leaf).sum(), leaf, create_graph=True)
    for twice in (grad.sum(), grad.sum() + leaf.sum()):
        with pytest.raises(RuntimeError, match="differentiates a model once, not twice"):
            torch.autograd.grad(twice, leaf, retain_graph=True)


def test_a_function_that_comes_home_is_the_same(across) -> None:
    assert across(lambda function: function)(cubes) is cubes


def test_errors_and_exits_arrive_as_errors(across) -> None:
    def leave() -> None:
        raise SystemExit(0)

    with pytest.raises(RemoteError, match=r"SystemExit\(0\)"):
        across(leave)()
    with pytest.raises(RemoteError, match="ZeroDivisionError"):
        across(lambda: 1 / 0)()


def test_what_is_changed_in_place_is_told_and_copied_on_demand(across) -> None:
    change = across(lambda given: given.zero_())
    given = torch.ones(2)
    change(given)
    assert torch.equal(given, torch.ones(2)) and change.end.changed
    change.end.copies_back = True
    change(given)
    assert torch.equal(given, torch.zeros(2))
    array = {"a": numpy.ones(2)}
    across(lambda arrays: arrays["a"].fill(0))(array)
    assert array["a"].tolist() == [0, 0]


BROKEN = {
    "nothing": b"",
    "half a header": b"\x01",
    "too long": HEADER.pack(2**31, 0),
    "no JSON": HEADER.pack(3, 0) + b"abc",
    "no object": HEADER.pack(2, 0) + b"[]",
    "deep": HEADER.pack(200_000, 0) + b"[" * 200_000,
    "no tensors": HEADER.pack(12, 4) + b'{"do": "a"} ' + b"abcd",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_message_breaks_the_connection(name: str) -> None:
    with pytest.raises(ConnectionBroken):
        unpack(io.BytesIO(BROKEN[name]).read)


REPLIES = [
    {"do": "return"},
    {"do": "return", "id": 7},
    {"do": "return", "id": 1, "value": {"tensor": 3}, "graph": 1},
    {"do": "return", "id": 1, "value": {"home": 9}, "graph": 1, "differentiable": [],
     "outputs": 0, "changed": []},
    {"do": "return", "id": 1, "value": {"what": 9}, "graph": 1, "differentiable": [],
     "outputs": 0, "changed": []},
    {"do": "return", "id": 1, "value": None, "graph": 1, "differentiable": [],
     "outputs": 0, "changed": [4]},
]  # fmt: skip


@pytest.mark.parametrize("reply", REPLIES)
def test_a_forged_reply_breaks_the_connection(reply: dict[str, object]) -> None:
    reasons: list[str] = []
    content = pack(reply, ())
    end = End(lambda sent: None, lambda: unpack(io.BytesIO(content).read), reasons.append)
    end.copies_back = True
    with pytest.raises(ConnectionBroken):
        end.call(0, (), {})
    assert len(reasons) == 1


class Scaled:
    """An object with two parts that travel and one that does not."""

    travels = ("factor", "half")

    def __init__(self, factor: float) -> None:
        self.factor, self.secret = factor, "hidden"

    def half(self, values: torch.Tensor) -> torch.Tensor:
        return values / 2

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return self.factor * values


def test_of_an_object_the_listed_parts_travel(across) -> None:
    arrived, values = across(Scaled(3.0)), torch.ones(2, requires_grad=True)
    assert arrived.factor == 3.0
    assert torch.equal(arrived.half(values), values / 2)
    arrived(values).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [3.0, 3.0]
    with pytest.raises(AttributeError, match="no 'secret': its parts are factor, half"):
        _ = arrived.secret


@pytest.mark.parametrize("content", [3, [[], None], [{}, 7], [{"a": 1}]])
def test_what_is_no_object_ends_the_connection(content: object) -> None:
    with pytest.raises(ConnectionBroken, match="sent what is no value"):
        line()[0].decode({"object": content}, [])
