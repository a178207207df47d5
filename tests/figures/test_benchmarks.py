"""The stored benchmark as tables: every library, failures as infinitely far, times as ratios."""

import json
from pathlib import Path

import pytest

from armsrace.figures import tables
from armsrace.figures.tables import benchmarks

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
