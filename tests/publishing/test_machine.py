"""A computer that is too old, too full, too slow, or kept from using its cores."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from armsrace.publishing import machine


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 14, 0)])
def test_python_outside_the_lock_is_refused(monkeypatch, version: tuple[int, ...]) -> None:
    assert machine.python().state == "ok"
    monkeypatch.setattr(sys, "version_info", version)
    assert machine.python().state == "missing"


def test_room_is_measured_against_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "DISK_GIGABYTES", 1e9)
    monkeypatch.setattr(machine, "MEMORY_GIGABYTES", 1e9)
    assert machine.disk().state == machine.memory().state == "warning"
    monkeypatch.setattr(machine, "DISK_GIGABYTES", 0)
    monkeypatch.setattr(machine, "MEMORY_GIGABYTES", 0)
    assert machine.disk().state == machine.memory().state == "ok"


def test_idle_cores_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert "1 of 8" in machine.threads().detail and machine.threads().state == "warning"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert machine.threads().state == "ok"


@pytest.mark.parametrize(("seconds", "state"), [(0.04, "ok"), (0.4, "warning")])
def test_slow_computer_is_told_to_take_fewer_images(monkeypatch, seconds, state) -> None:
    monkeypatch.setattr(machine, "probe_seconds", lambda: seconds)
    assert machine.speed().state == state


def test_probe_measures_a_pass_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    assert 0 < machine.probe_seconds() < 60
    assert torch.equal(before, torch.get_rng_state())
