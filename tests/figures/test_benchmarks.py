"""The stored benchmark as tables: every library, failures as infinitely far, times as ratios."""

import json
from pathlib import Path

import pytest

from armsrace.figures import tables
from armsrace.figures.tables import benchmarks, minimal_distances, photograph_races
from armsrace.ledger import measurements

OUTCOMES = {
    "armsrace": {"seconds": 2.0, "queries": 1200.4, "success": 1.0, "median": 1.25},
    "Peer": {"seconds": 7.0, "queries": 9000.0, "success": 0.5, "median": float("inf")},
}
ROW = {
    "norm": "l2", "n": 100, "outcomes": OUTCOMES, "device": "CPU, 2 cores", "threads": 1,
    "date": "2026-01-01", "commit": "abc", "data": "MNIST",
}  # fmt: skip


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "measured").mkdir()
    monkeypatch.setattr(tables, "data_root", lambda: tmp_path)
    return tmp_path / "measured" / "benchmark.json"


def test_each_race_is_a_table(stored: Path) -> None:
    stored.write_text(json.dumps({"A search": ROW, "Another": ROW}))
    first, second = benchmarks()
    html = first._repr_html_()
    assert "A search: 100 digits, CPU, 2 cores, one thread" in html
    assert "median ‖δ‖₂" in html and "∞" in html and "1,200" in html
    assert "<td>3.5</td>" in html, "the peer takes 3.5 times as long"
    assert "Another" in second._repr_html_()


def test_nothing_stored_is_said(stored: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `make bench`"):
        benchmarks()


@pytest.mark.parametrize("text", ['{"A search": {"norm"', "[]", json.dumps({"A search": {"n": 3}})])
def test_a_damaged_file_is_named(stored: Path, text: str) -> None:
    stored.write_text(text)
    with pytest.raises(ValueError, match=r"benchmark\.json cannot be read, run `make bench` again"):
        benchmarks()


def recording(distances: list[float]) -> dict[str, object]:
    columns = {"distances": distances, "seconds": [2.5], "passes": [1200.4]}
    facts = {"settings": "", "data": "MNIST", "device": "CPU", "date": "", "commit": "abc"}
    return {"columns": columns, "n": len(distances), **facts}


def test_the_most_nearly_optimal_attack_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "measured").mkdir()
    monkeypatch.setattr(measurements, "data_root", lambda: tmp_path)
    rows = {
        "net, l2, Peer A": recording([2.0, -1.0, 4.0]),
        "net, l2, armsrace B": recording([1.0, 2.0, 4.0]),
        "net, linf, armsrace B": recording([0.1, 0.2, 0.3]),
    }
    (tmp_path / "measured" / "attackbench.json").write_text(json.dumps(rows))
    first, second = (made._repr_html_() for made in minimal_distances())
    assert "median ‖δ‖∞" in first and "median ‖δ‖₂" in second
    assert second.index("armsrace B") < second.index("Peer A")
    # The envelope is [1, 2, 4]: of the 5 between its area and nothing's, Peer A leaves 3.
    assert "<td>1.000</td>" in second and "<td>0.400</td>" in second
    assert "<td>67%</td>" in second and "1,200" in second


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
