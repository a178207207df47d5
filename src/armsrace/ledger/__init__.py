"""Every number quoted from a paper, beside the one that this code measures, with a verdict."""

from armsrace.ledger.claims import Claim, Verdict, load_claims, verdict
from armsrace.ledger.measurements import Measurement, load_measured, measure
from armsrace.ledger.recordings import Recording, record, recorded
from armsrace.ledger.tables import check, page, table, verdicts

__all__ = [
    "Claim", "Measurement", "Recording", "Verdict", "check", "load_claims", "load_measured",
    "measure", "page", "record", "recorded", "table", "verdict", "verdicts",
]  # fmt: skip
