"""The device fails where a GPU would; the tests of this folder would not notice otherwise."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import armsrace
from armsrace import attacks
from tests.elsewhere import compare, run_there

SOURCE = Path(armsrace.__file__).parent


def there(*shape: int) -> Tensor:
    return torch.ones(shape).to("elsewhere")


def tied_backward() -> None:
    """A CPU tensor that only the backward pass meets."""

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: Tensor) -> Tensor:
            return 2 * images

        @staticmethod
        def backward(ctx: Any, *slopes: Tensor) -> Tensor:
            return slopes[0] * torch.full((3,), 2.0)

    Doubled.apply(there(3).requires_grad_()).sum().backward()


def assigned() -> None:
    there(3, 2)[1:] = torch.zeros(2, 2)


def assigned_back() -> None:
    torch.zeros(3, 2)[1:] = there(2, 2)


def filled_rows() -> None:
    there(3, 2)[torch.tensor([0, 2], device="elsewhere")] = torch.zeros(2, 2)


def own_numbers() -> None:
    torch.rand(3, device="elsewhere")


def own_normal_numbers() -> None:
    torch.randn_like(there(3))


def own_order() -> None:
    torch.randperm(3, device="elsewhere")


def borrowed_numbers() -> None:
    torch.rand(3, device="elsewhere", generator=torch.Generator())


def borrowed_fill() -> None:
    there(3).normal_(generator=torch.Generator())


def module_left_behind() -> None:
    nn.Linear(3, 2)(there(1, 3))


def attack_on_labels_left_behind() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).to("elsewhere")
    attacks.fgsm(model, there(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), epsilon=0.1)


REFUSED: dict[Callable[[], object], str] = {
    assigned: "a part of a tensor is assigned",
    assigned_back: "a part of a tensor is assigned",
    attack_on_labels_left_behind: "a CPU tensor of shape",
    borrowed_fill: "a CPU generator draws",
    borrowed_numbers: "a CPU generator draws",
    filled_rows: "a CPU tensor of shape",
    module_left_behind: "a CPU tensor of shape",
    own_normal_numbers: "its own generator draws",
    own_numbers: "its own generator draws",
    own_order: "its own generator draws",
    tied_backward: "a CPU tensor of shape",
}


def is_refused(number: int) -> None:
    deed, words = list(REFUSED.items())[number]
    with pytest.raises(RuntimeError, match=words):
        deed()


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[f.__name__ for f in REFUSED])
def test_it_refuses(number: int) -> None:
    run_there(is_refused, number)


def refuses_to_mix() -> None:
    far, near = there(3), torch.arange(3)
    mixed: list[Callable[[], object]] = [
        lambda: far + near, lambda: near + far, lambda: far[near], lambda: near[far.long()],
        lambda: torch.where(far > 0, far, near), lambda: torch.cat([far, near]),
        lambda: torch.stack([far.sum(), near.sum()]), lambda: far.index_fill(0, near, 1.0),
        lambda: nn.functional.cross_entropy(far[None], near[:1]), lambda: near.to(far) + near,
    ]  # fmt: skip
    for mix in mixed:
        with pytest.raises(RuntimeError, match="a CPU tensor of shape"):
            mix()
    with pytest.raises(RuntimeError, match="numpy"):
        far.numpy()


def test_it_refuses_to_mix_the_two() -> None:
    run_there(refuses_to_mix)


def serves() -> None:
    """What a GPU allows it allows, with the CPU's numbers and in views of one memory."""
    far = torch.arange(6.0, device="elsewhere").view(2, 3)
    far[:, 1:] += 10
    far[0, 0] = torch.tensor(7.0)
    assert far.tolist() == [[7.0, 11.0, 12.0], [3.0, 14.0, 15.0]]
    assert torch.equal((2 * far).cpu(), 2 * far.cpu()) and float(far.sum()) == 62
    assert far.new_tensor([1, 2]).device == far.device
    assert torch.tensor(1.0, device=far.device).device == far.device
    assert torch.zeros(2).copy_(far[:, 0]).tolist() == [7.0, 3.0]
    spectrum = torch.fft.rfft(far).conj() * 2
    torch.testing.assert_close(spectrum.cpu(), torch.fft.rfft(far.cpu()).conj() * 2)
    with torch.inference_mode():
        assert [part.sum().item() for part in far.split(1)] == [30, 32]


def test_it_computes_as_the_cpu_does() -> None:
    run_there(serves)


def left_on_the_cpu(device: torch.device) -> Tensor:
    return torch.ones(3)


def other_numbers(device: torch.device) -> Tensor:
    return torch.ones(3, device=device) * (1 if device.type == "cpu" else 1.001)


def other_words(device: torch.device) -> str:
    return device.type


@pytest.mark.parametrize(
    ("case", "words"),
    [(left_on_the_cpu, "elsewhere"), (other_numbers, "not close"), (other_words, "outcome is")],
)  # fmt: skip
def test_the_comparison_notices(case: Callable[..., object], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        run_there(compare, case)


def test_it_is_in_no_test_but_its_own() -> None:
    """Autograd's engine and torch's accelerator are for the whole process."""
    with pytest.raises(RuntimeError, match="Expected one of"):
        torch.device("elsewhere")


DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}


def undirected_draws(source: str) -> Iterator[int]:
    """Lines that draw from a generator and do not say where: on a GPU's one torch would refuse."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            names = {word.arg for word in call.keywords}
            if call.func.attr in DRAWS and "generator" in names and "device" not in names:
                yield call.lineno


@pytest.mark.parametrize("layer", ["attacks", "defenses", "evaluation", "models", "training"])
def test_each_draw_is_made_on_its_generators_device(layer: str) -> None:
    files = sorted((SOURCE / layer).rglob("*.py"))
    found = [f"{p.name}:{line}" for p in files for line in undirected_draws(p.read_text())]
    assert files and not found


def test_an_undirected_draw_is_found() -> None:
    assert list(undirected_draws("x = 1\ntorch.rand(3, generator=g)")) == [2]
    assert not list(undirected_draws("torch.rand(3, generator=g, device=g.device); torch.rand(2)"))
