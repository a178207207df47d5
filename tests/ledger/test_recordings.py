"""Recordings come back as they were stored, one beside the other, and say where they are from."""

import pytest
import torch

from armsrace import ledger
from armsrace.ledger import measurements

FACTS = {"settings": "two steps", "n": 1_200, "data": "MNIST, 10,000 test images, from a folder"}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(measurements, "data_root", lambda: tmp_path)
    return tmp_path


def test_what_is_recorded_comes_back() -> None:
    first = ledger.record("study", "b", {"ε": [0.1, 0.2]}, **FACTS)
    second = ledger.record("study", "a", {"ε": [1 / 3]}, **FACTS)
    assert ledger.recorded("study") == {"a": second, "b": first}
    assert ledger.recorded("study")["a"].columns["ε"] == [1 / 3]


def test_a_study_knows_what_it_holds() -> None:
    assert not measurements.is_recorded("study", "a"), "there is no file yet"
    ledger.record("study", "a", {"ε": [1.0]}, **FACTS)
    assert measurements.is_recorded("study", "a") and not measurements.is_recorded("study", "b")


def test_a_second_run_replaces_the_first() -> None:
    ledger.record("study", "a", {"ε": [1.0]}, **FACTS)
    again = ledger.record("study", "a", {"ε": [2.0]}, **FACTS)
    assert ledger.recorded("study") == {"a": again}


def test_the_provenance_names_all_but_the_folder() -> None:
    line = ledger.record("study", "a", {"ε": [1.0]}, **FACTS).provenance
    assert line.startswith("n = 1,200; MNIST, 10,000 test images; ") and "folder" not in line
    assert ledger.recorded("study")["a"].commit in line


def test_a_perturbation_comes_back_in_whole_gray_levels(folder) -> None:
    change = (
        torch.randint(-127, 128, (1, 3, 5, 7), generator=torch.Generator().manual_seed(0)) / 255
    )
    measurements.record_change("study", "a", change)
    assert torch.equal(ledger.recorded_change("study", "a"), change)
    measurements.record_change("study", "a", change / 2)
    half = ledger.recorded_change("study", "a")
    assert torch.equal(255 * half, (255 * half).round())
    assert (half - change / 2).abs().max() <= 0.5001 / 255


def test_a_perturbation_that_does_not_fit_is_refused() -> None:
    for wrong in (torch.zeros(1, 1, 5, 7), torch.zeros(3, 5, 7), torch.full((1, 3, 5, 7), 0.6)):
        with pytest.raises(ValueError, match="change must be"):
            measurements.record_change("study", "a", wrong)
    with pytest.raises(FileNotFoundError, match=r"a\.png is missing"):
        ledger.recorded_change("study", "a")


def test_what_is_missing_or_broken_is_named(folder) -> None:
    with pytest.raises(FileNotFoundError, match=r"other\.json is missing"):
        ledger.recorded("other")
    path = folder / "measured" / "broken.json"
    path.parent.mkdir()
    for text in ("", '{"a": {"n": 3}}', '{"a": {"n"', "[]"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"broken\.json cannot be read"):
            ledger.recorded("broken")
