"""Reduced precision is used where the machine has it, and nowhere else."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from armsrace import precision
from armsrace.training.recipe import in_reduced_precision

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}  # fmt: skip
ASK = "from armsrace.precision import reduced_precision; print(reduced_precision())"


@pytest.fixture(params=[True, False], ids=["native", "absent"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """The tests' processor, told that it has bfloat16 and that it has none."""
    monkeypatch.setitem(precision.NATIVE, "cpu", lambda: request.param)
    precision._reduced.cache_clear()
    yield request.param
    precision._reduced.cache_clear()


def test_the_dtype_follows_the_hardware(native: bool) -> None:
    wanted = torch.bfloat16 if native else None
    assert precision.reduced_precision() is wanted
    assert precision.reduced_precision(torch.device("cpu", 0)) is wanted


def test_it_is_said_once(native: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "armsrace"):
        for _ in range(3):
            precision.reduced_precision()
    (record,) = caplog.records
    assert ("bfloat16" in record.getMessage()) == native


def test_a_recipe_convolves_in_what_the_hardware_has(native: bool) -> None:
    seen: list[torch.dtype] = []
    model = nn.Conv2d(1, 4, 3)
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return model(images).float().square().mean()

    loss = in_reduced_precision(objective)(model, torch.rand(2, 1, 8, 8), torch.zeros(2))
    loss.backward()
    assert seen == [torch.bfloat16 if native else torch.float32]
    assert model.weight.grad is not None and model.weight.grad.dtype == torch.float32


def test_a_device_that_nobody_knows_computes_in_float32() -> None:
    assert precision.reduced_precision("meta") is None
    with precision.autocast("meta", None):
        assert not torch.is_autocast_enabled("cpu")


def test_a_laptop_with_avx2_gets_float32() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", ASK], env=os.environ | AVX2, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert asked.stdout.strip() == "None"


@pytest.mark.parametrize(
    ("onednn", "avx2", "instructions", "expected"),
    [
        (True, True, True, True),
        (True, True, False, False),  # AVX-512 without its bfloat16: oneDNN emulates
        (False, True, True, False),  # forbidden by ONEDNN_MAX_CPU_ISA
        (True, False, False, True),  # Arm with bfloat16
        (False, False, False, False),
    ],
)
def test_processors(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, avx2: bool, instructions: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: avx2)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    assert precision._cpu_has_bfloat16() is expected
