"""The stored benchmark as tables: every library, failures as infinitely far, times as ratios."""

import json
from pathlib import Path

import numpy as np
import pytest

from armsrace import ledger
from armsrace.figures.attackbench import contests, minimal_distances, optimality_over_time
from armsrace.figures.tables import benchmarks, photograph_races
from armsrace.ledger import measurements

RACE = {
    "columns": {
        "armsrace": [1.0, 1.25, 1200.4, 2.0],
        "Peer": [0.5, float("inf"), 9000.0, 7.0],
    },
    "settings": "s3-cnn; one thread; columns: success, median distance, queries per image, seconds",
    "n": 100, "data": "MNIST", "device": "CPU, 2 cores", "date": "2026-01-01", "commit": "abc1234",
    "command": "python benchmarks/searches.py",
}  # fmt: skip


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "measured").mkdir()
    monkeypatch.setattr(measurements, "data_root", lambda: tmp_path)
    return tmp_path / "measured" / "benchmark.json"


def test_each_race_is_a_table(stored: Path) -> None:
    stored.write_text(json.dumps({"linf, A race": RACE, "l2, A search, 9 steps": RACE}))
    second, first = (made._repr_html_() for made in benchmarks())
    assert "A race: s3-cnn; one thread; n = 100" in second and "median ‖δ‖∞" in second
    assert "A search, 9 steps: s3-cnn; one thread; n = 100; MNIST; CPU, 2 cores" in first
    assert "abc1234; python benchmarks/searches.py" in first
    assert "median ‖δ‖₂" in first and "∞" in first and "1,200" in first
    assert "<td>3.5</td>" in first, "the peer takes 3.5 times as long"


def test_nothing_stored_is_said(stored: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"run the study's script"):
        benchmarks()


@pytest.mark.parametrize("text", ['{"A search": {"norm"', "[]", json.dumps({"A search": {"n": 3}})])
def test_a_damaged_file_is_named(stored: Path, text: str) -> None:
    stored.write_text(text)
    with pytest.raises(ValueError, match=r"benchmark\.json cannot be read, record it again"):
        benchmarks()


def test_the_shipped_races_are_tables() -> None:
    assert len(benchmarks()) == len(ledger.recorded("benchmark")) > 0


def recording(distances: list[float]) -> dict[str, object]:
    columns = {"distances": distances, "seconds": [2.5], "passes": [1200.4]}
    facts = {"settings": "", "data": "MNIST", "device": "CPU", "date": "", "commit": "abc"}
    return {"columns": columns, "n": len(distances), **facts}


def test_the_most_nearly_optimal_attack_comes_first(
    stored: Path,
) -> None:
    rows = {
        "net, l2, Peer A": recording([2.0, -1.0, 4.0]),
        "net, l2, armsrace B": recording([1.0, 2.0, 4.0]),
        "net, linf, armsrace B": recording([0.1, 0.2, 0.3]),
    }
    stored.with_name("attackbench.json").write_text(json.dumps(rows))
    first, second = (made._repr_html_() for made in minimal_distances())
    assert "median ‖δ‖∞" in first and "median ‖δ‖₂" in second
    assert second.index("armsrace B") < second.index("Peer A")
    # The envelope is [1, 2, 4]: of the 5 between its area and nothing's, Peer A leaves 3.
    assert "<td>1.000</td>" in second and "<td>0.400</td>" in second
    assert "<td>67%</td>" in second and "1,200" in second


def test_the_best_optimality_never_falls_with_the_time_allowed(stored: Path) -> None:
    def slower(distances: list[float], seconds: float) -> dict[str, object]:
        row = recording(distances)
        columns = row["columns"]
        assert isinstance(columns, dict)
        return row | {"columns": columns | {"seconds": [seconds]}}

    rows = {
        "net, l2, Peer A": slower([1.0, 1.0], 4.0),
        "net, l2, armsrace B": slower([2.0, 1.0], 1.0),
        "net, l2, armsrace C": slower([2.0, 2.0], 2.0),
        "net, linf, Peer A": slower([0.1, -1.0], 1.0),
        "net, linf, armsrace B": slower([0.1, 0.2], 3.0),
    }
    stored.with_name("attackbench.json").write_text(json.dumps(rows))
    second = contests()[1]
    assert second.norm == "l2"
    times, best = second.best_so_far(["armsrace C", "armsrace B"])
    assert times == [1.0, 2.0] and best == [second.optimality["armsrace B"]] * 2
    plot = optimality_over_time()
    panels = [axes for axes in plot.axes if axes.lines]
    assert [axes.get_title(loc="left") for axes in panels] == ["net, ‖δ‖∞", "net, ‖δ‖₂"]
    for axes in panels:
        steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
        assert {line.get_label() for line in steps} == {"armsrace", "peers"}
        assert all((np.diff(np.asarray(line.get_ydata())) >= 0).all() for line in steps)


def test_a_caption_names_every_distinct_provenance(stored: Path) -> None:
    rows = {
        "net, l2, Peer A": recording([2.0]) | {"commit": "one"},
        "net, l2, Peer B": recording([1.0]) | {"commit": "one"},
        "net, l2, armsrace C": recording([1.0]) | {"commit": "two", "device": "GPU"},
        "net, linf, armsrace C": recording([1.0]) | {"commit": "two"},
    }
    stored.with_name("attackbench.json").write_text(json.dumps(rows))
    several, single = (made._repr_html_() for made in reversed(minimal_distances()))
    assert "Peer A, Peer B: n = 1; MNIST; CPU; one. armsrace C: n = 1; MNIST; GPU; two" in several
    assert "net, ‖δ‖∞: n = 1; MNIST; CPU; two" in single


def race(distances: list[float], passes: float, **more: list[float]) -> dict[str, object]:
    columns = {"distances": distances, "passes": [passes], "gibibytes": [0.5], "queries": [7.0]}
    facts = {"data": "ImageNet", "device": "CPU", "date": "", "commit": "abc"}
    columns |= {"seconds": [passes / 5]} if passes else {}
    return {"columns": columns | more, "settings": "10 steps", "n": 2, **facts}


def test_photograph_races_show_the_quickest_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "measured").mkdir()
    monkeypatch.setattr(measurements, "data_root", lambda: tmp_path)
    rows = {
        "l2: search: armsrace": race([1.0, 3.0], 20.0),
        "l2: search: Slow": race([1.0, 1.0], 90.0),
        "l2: search: Quick": race([2.0, -1.0], 30.0),
        "l2: endless: armsrace": race([-1.0, -1.0], 10.0),
        "l2: endless: Slow": race([-1.0, -1.0], 0.0, limit=[120.0]),
        "l0: alone: armsrace": race([5.0, 6.0], 10.0),
        "l0: broken: armsrace": race([5.0, 6.0], 10.0),
        "l0: broken: Slow": race([-1.0, -1.0], 0.0),
    }
    (tmp_path / "measured" / "imagenet.json").write_text(json.dumps(rows))
    first, second = (made._repr_html_() for made in photograph_races())
    assert "‖δ‖₂" in first and "‖δ‖₀" in second
    assert "<td>2 of 2</td><td>2</td><td>7</td><td>4.0</td><td>0.50</td><td>Quick</td>" in first
    assert "<td>1 of 2</td><td>2</td><td>7</td><td>6.0</td><td>0.50</td><td>1.50</td>" in first
    assert "<td>Slow</td><td></td><td></td><td></td><td>&gt; 120</td><td></td><td></td>" in first
    assert "<td>none</td>" in second and "<td>failed</td>" in second
