"""Files are replaced whole or not at all; a device has one name."""

from pathlib import Path

import pytest
import torch

from armsrace.resources import device_name, replacing


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_success_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "weights"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["weights"]


def test_a_processor_is_named_with_its_instructions(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = device_name()
    assert found == device_name("cpu") and found.startswith("CPU, ")
    assert found.endswith(torch.backends.cpu.get_cpu_capability())
    assert device_name("mps") == "MPS"


def test_a_gpu_is_named_by_its_model(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"A GPU, {device}")
    assert device_name() == "A GPU, cuda" and device_name("cuda:1") == "A GPU, cuda:1"
    assert device_name("cpu").startswith("CPU, ")
