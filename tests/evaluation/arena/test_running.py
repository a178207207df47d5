"""A run loses nothing finished and repeats nothing, whoever dies in the middle."""

import builtins
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from armsrace.evaluation import arena
from armsrace.evaluation.arena import running, store

RUN = """
import sys, time
from pathlib import Path
from armsrace.evaluation import arena
from armsrace.evaluation.arena import running
measured = running.measure
def slowly(*arguments):
    time.sleep(0.2)
    return measured(*arguments)
running.measure = slowly
jobs = arena.arena_jobs(12, defenses=["rbf"], attacks=["fgsm", "bim"], chunk=2)
arena.run(jobs, Path(sys.argv[1]))
"""


def some_units():
    return arena.arena_jobs(12, defenses=["rbf"], attacks=["fgsm", "bim"], chunk=2)


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_and_repeats_nothing(tmp_path) -> None:
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)])
    patience = time.monotonic() + 120
    while len(files(tmp_path)) < 3:
        assert process.poll() is None and time.monotonic() < patience
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    units, before = some_units(), files(tmp_path)
    assert 3 <= len(before) < len(units)
    for path in tmp_path.rglob("*.parquet"):
        assert len(pd.read_parquet(path)) == 2
    done = []
    count = arena.run(units, tmp_path, progress=lambda *seen: done.append(seen))
    assert count == len(units) - len(before) == len(done)
    assert not {Path(unit.name).name for *_, unit in done} & before.keys()
    assert {name: files(tmp_path)[name] for name in before} == before
    assert arena.run(units, tmp_path) == 0
    arena.run(units, tmp_path / "at once")
    whole, pieces = (arena.collected(units, at) for at in (tmp_path / "at once", tmp_path))
    same = [name for name in whole.columns if name != "seconds"]
    # Two processes may have different numbers of threads, and FGSM turns a gradient of rounding
    # size into a whole step: distances are the same to a few pixels.
    pd.testing.assert_frame_equal(whole[same], pieces[same], rtol=0.1)


def test_an_error_names_its_unit_and_what_is_finished_stays(tmp_path, monkeypatch) -> None:
    units, real = some_units(), running.measure

    def failing(unit, *rest):
        if unit == units[2]:
            raise ValueError("broken")
        return real(unit, *rest)

    monkeypatch.setattr(running, "measure", failing)
    with pytest.raises(ValueError, match="broken") as caught:
        arena.run(units, tmp_path)
    assert caught.value.__notes__ == [f"while measuring {units[2].name}"]
    assert len(files(tmp_path)) == 2


def test_damaged_missing_and_foreign_files_are_named(tmp_path) -> None:
    units = some_units()[:2]
    with pytest.raises(arena.OutcomesError, match="run `armsrace arena run`"):
        arena.collected(units, tmp_path)
    arena.run(units, tmp_path)
    first, second = (tmp_path / unit.name for unit in units)
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(arena.OutcomesError, match="another job's"):
        arena.collected(units, tmp_path)
    first.write_bytes(whole[:-40])
    with pytest.raises(arena.OutcomesError, match="cannot be read, delete it"):
        arena.collected(units, tmp_path)


def test_outcomes_are_exported_whole(tmp_path) -> None:
    units = some_units()[:2]
    arena.run(units, tmp_path)
    outcomes = arena.collected(units, tmp_path)
    arena.export(outcomes, tmp_path / "all.parquet")
    pd.testing.assert_frame_equal(arena.read(tmp_path / "all.parquet"), outcomes)
    arena.export(outcomes, tmp_path / "all.csv")
    assert pd.read_csv(tmp_path / "all.csv")["key"].tolist() == outcomes["key"].tolist()
    with pytest.raises(ValueError, match=r"path's ending must be one of .parquet, .csv"):
        arena.export(outcomes, tmp_path / "all.xlsx")
    with pytest.raises(arena.OutcomesError, match="is missing"):
        arena.read(tmp_path / "none.parquet")


def test_a_scheduler_needs_the_extra(tmp_path, monkeypatch) -> None:
    real = builtins.__import__

    def without(name, *rest):
        if name == "distributed":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"armsrace\[scale\]"):
        arena.run(some_units(), tmp_path, scheduler="tcp://127.0.0.1:1")


def test_the_run_folder_is_not_the_shipped_one() -> None:
    assert store.shipped_path().parent != store.run_folder()


def test_one_new_defense_leaves_the_stored_ones() -> None:
    stored = arena.read()
    part = stored[stored["defense"] == "rbf"]
    pd.testing.assert_frame_equal(store.merged(part, stored), stored)
    without = stored[stored["defense"] != "rbf"]
    pd.testing.assert_frame_equal(store.merged(part, without), stored)
    gone = stored.replace({"defense": {"s3-cnn": "no longer in the table"}})
    whole = store.merged(part, gone)
    assert len(whole) == len(stored) and whole["defense"].iloc[-1] == "no longer in the table"


def test_a_second_measurement_replaces_the_first() -> None:
    stored = arena.read()
    again = stored[stored["defense"] == "rbf"].assign(key="other weights", queries=7)
    whole = store.merged(again, stored)
    assert len(whole) == len(stored)
    assert whole.loc[whole["defense"] == "rbf", "key"].eq("other weights").all()
    assert whole.loc[whole["defense"] != "rbf", "key"].ne("other weights").all()


def test_outcomes_of_other_digits_are_not_merged() -> None:
    stored = arena.read()
    other = stored[stored["defense"] == "rbf"].assign(data="MNIST, 1,000 embedded test images")
    with pytest.raises(arena.OutcomesError, match="are of MNIST, 10,000 official"):
        store.merged(other, stored)


def test_published_tables_hold_every_outcome_and_every_setting(tmp_path: Path) -> None:
    shipped = arena.read()
    arena.publish(shipped, tmp_path)
    tables = [pd.read_csv(tmp_path / f"{name}.csv") for name in ("outcomes", "settings")]
    assert len(tables[0]) == len(shipped)
    pd.testing.assert_series_equal(tables[0]["l2"], shipped["l2"].astype(float), rtol=1e-5)
    cells = shipped.groupby(["defense", "attack", "norm", "seed", "options"]).ngroups
    assert cells <= len(tables[1]) < len(shipped) / 10
