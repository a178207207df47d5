"""Claims are complete, and a number gets the verdict that its rule gives."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from armsrace.ledger import Claim, Verdict, claims, load_claims, verdict
from armsrace.ledger.claims import papers
from armsrace.resources import chapter_file

FIELDS = {
    "id": "c", "citation": "k", "where": "§1", "chapter": "fgsm", "statement": "s", "protocol": "p",
    "unit": "%", "reported": 90.0, "source": "paper",
}  # fmt: skip


def claim(**changes: object) -> Claim:
    return Claim.model_validate(FIELDS | changes)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(85, "reproduced"), (95, "reproduced"), (84.9, "direction only"), (49, "not reproduced")],
)
def test_band_and_direction(value: float, expected: str) -> None:
    judged = verdict(claim(band=(85, 95), direction=(50, 100)), {"c": value})
    assert judged.words == expected


def test_not_measured() -> None:
    assert verdict(claim(band=(0, 1)), {"other": 0.5}) is Verdict.NOT_MEASURED


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"c": 90, "low": 50}, Verdict.REPRODUCED),
        ({"c": 70, "low": 50}, Verdict.DIRECTION_ONLY),
        ({"c": 90, "low": 95}, Verdict.NOT_REPRODUCED),
        ({"c": 90}, Verdict.NOT_REPRODUCED),
    ],
)
def test_order(values: dict[str, float], expected: Verdict) -> None:
    assert verdict(claim(band=(85, 95), above="low"), values) is expected
    mirrored = {key: -value for key, value in values.items()}
    assert verdict(claim(band=(-95, -85), below="low"), mirrored) is expected


def test_an_order_alone_holds() -> None:
    assert verdict(claim(above="low"), {"c": 2, "low": 1}) is Verdict.ORDER_HOLDS
    assert claim(above="low").expect is Verdict.ORDER_HOLDS


@pytest.mark.parametrize("changes", [{"reported": None}, {"source": "memory"}])
def test_without_a_number_that_is_printed_nothing_is_reproduced(changes: dict[str, object]) -> None:
    unprinted = claim(band=(85, 95), **changes)
    assert unprinted.expect is Verdict.ORDER_HOLDS
    assert verdict(unprinted, {"c": 90}) is Verdict.ORDER_HOLDS
    assert verdict(unprinted, {"c": 80}) is Verdict.NOT_REPRODUCED
    with pytest.raises(ValidationError, match="expect must be at most 'order holds'"):
        claim(band=(85, 95), expect="reproduced", **changes)


def test_a_direction_alone_is_never_more_than_that() -> None:
    assert verdict(claim(direction=(0, 100)), {"c": 90}) is Verdict.DIRECTION_ONLY


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"expect": "direction only", "band": (0, 1)}, "why must be given"),
        ({}, "needs a band, a direction or an order"),
        ({"band": (0, 1), "souce": "paper"}, "souce"),
        ({"band": (0, 1), "source": "hearsay"}, "source"),
        ({"band": (0, 1), "expect": "fine", "why": "x"}, "expect"),
    ],
)
def test_an_incomplete_claim_is_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        claim(**changes)


def test_memory_is_never_quoted() -> None:
    assert claim(band=(0, 1), source="memory").quotable == "—"
    assert claim(band=(0, 1)).quotable == "90 %"


def test_the_shipped_claims_are_sound() -> None:
    claims = load_claims()
    assert all(chapter_file(claim.chapter) for claim in claims.values())
    for claim in claims.values():
        assert claim.citation in papers(), claim.id
        if claim.reported is not None and claim.band is not None:
            assert claim.band[0] <= claim.reported <= claim.band[1], claim.id
        if claim.band is not None and claim.direction is not None:
            low, high = claim.direction
            assert low <= claim.band[0] and claim.band[1] <= high, claim.id


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"claims: [{id: a", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "is it cut short"),
        (b"papers: {}", "is it cut short"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch, content: bytes, rule: str) -> None:
    (tmp_path / "claims.yml").write_bytes(content)
    monkeypatch.setattr(claims, "data_root", lambda: tmp_path)
    for read in (load_claims, papers):
        with pytest.raises(ValueError, match=rf"claims\.yml .*{rule}"):
            read.__wrapped__()
