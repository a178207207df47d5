"""The ledger: each number quoted from a paper, the number measured here, and a verdict."""

from armsrace.ledger.claims import Claim, Verdict, load_claims, verdict
from armsrace.ledger.measurements import (
    Measurement,
    Recording,
    load_measured,
    measure,
    record,
    recorded,
    recorded_change,
)
from armsrace.ledger.tables import check, page, table, verdicts

__all__ = [
    "Claim", "Measurement", "Recording", "Verdict", "check", "load_claims", "load_measured",
    "measure", "page", "record", "recorded", "recorded_change", "table", "verdict", "verdicts",
]  # fmt: skip
