"""The same units on a Dask cluster on this machine, of which a worker is killed in the middle."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from armsrace.evaluation import arena

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


def start(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def worker(address: str) -> subprocess.Popen:
    # Without a nanny, which would start a new process in place of the one killed.
    flags = ("--no-nanny", "--nthreads", "1", "--no-dashboard")
    return start("dask_worker", address, *flags)


def test_a_killed_worker_loses_nothing(tmp_path) -> None:
    units = arena.arena_jobs(40, defenses=["rbf"], attacks=["pgd", "ddn", "boundary"], chunk=4)
    file = tmp_path / "scheduler.json"
    scheduler = start(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
        "--scheduler-file", str(file),
    )  # fmt: skip
    others: list[subprocess.Popen] = []
    try:
        patience = time.monotonic() + 60
        while not file.exists():
            assert scheduler.poll() is None and time.monotonic() < patience
            time.sleep(0.1)
        with distributed.Client(scheduler_file=str(file)) as client:
            address = client.scheduler.address
        others += [worker(address), worker(address)]

        def kill(done: int, total: int, unit: arena.Job) -> None:
            if done == 3:
                os.kill(others[0].pid, signal.SIGKILL)

        assert arena.run(units, tmp_path / "far", scheduler=address, progress=kill) == len(units)
        assert others[0].wait() == -signal.SIGKILL and others[1].poll() is None
        assert arena.run(units, tmp_path / "far", scheduler=address) == 0
    finally:
        for process in (*others, scheduler):
            process.kill()
    arena.run(units, tmp_path / "near")
    far, near = (arena.collected(units, tmp_path / at) for at in ("far", "near"))
    same = [name for name in near.columns if name != "seconds"]
    pd.testing.assert_frame_equal(far[same], near[same])
