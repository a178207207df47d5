"""Measuring a claim: the number, what it was measured on, and where it is shown and stored."""

from __future__ import annotations

import html
import math
import os
import sys
from datetime import date
from functools import cache
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter

from armsrace import datasets
from armsrace.ledger.claims import SOURCES, load_claims, papers, verdict
from armsrace.resources import CLONE, code_version, data_root

MIME = "application/vnd.armsrace.measurement+json"


class Measurement(BaseModel):
    """One number that this code measured, in its claim's unit, over n images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    value: float
    n: int
    data: str
    device: str
    date: str
    commit: str
    note: str = ""

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {MIME: self.model_dump(), "text/html": _line(self), "text/plain": repr(self)}


ROWS = TypeAdapter(list[Measurement])

SESSION: dict[str, Measurement] = {}
"""What this process has measured, by claim."""


def measure(id: str, value: float, *, n: int, data: str | None = None, note: str = "") -> float:
    """Record a measurement, show it beside its claim where a notebook runs, and return the value.

    Args:
        id: the claim's.
        value: in the claim's unit.
        n: how many images it was measured on.
        data: what they are; by default the MNIST in use.
        note: what differs from the claim's protocol.

    Raises KeyError for an unknown claim and ValueError for a value that is no finite number.
    """
    claims = load_claims()
    if id not in claims:
        raise KeyError(f"id must be a claim of data/claims.yml, got {id!r}")
    if not math.isfinite(value):
        raise ValueError(f"value must be finite, got {value}")
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    found = Measurement(
        id=id, value=float(value), n=n, data=data or _mnist(os.environ.get("ARMSRACE_DATA")),
        device=device_name(), date=date.today().isoformat(), commit=code_version(), note=note,
    )  # fmt: skip
    SESSION[id] = found
    if "IPython" in sys.modules:
        sys.modules["IPython"].display.display(found)
    return found.value


@cache
def _mnist(folder: str | None) -> str:
    """The MNIST in use, read and checked once for all claims; folder: $ARMSRACE_DATA."""
    return datasets.describe("mnist")


def device_name() -> str:
    """The device that torch computes on, as it is printed beside a measurement.

    A processor's instructions are those that torch may use, such as AVX2: they decide the speed,
    and the last digits.
    """
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def measured_path(profile: str) -> Path:
    """Where a profile's measurements lie: the paper profile's are kept with the source."""
    if profile == "paper":
        return data_root() / "measured" / "paper.json"
    return CLONE / "_build" / "measured" / f"{profile}.json"


def load_measured(profile: str) -> dict[str, Measurement]:
    """A profile's stored measurements by claim; none where it was never run.

    Raises ValueError naming the file where it cannot be read.
    """
    path = measured_path(profile)
    if not path.exists():
        return {}
    try:
        found = ROWS.validate_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read, delete it and build again: {error}") from error
    return {row.id: row for row in found}


def _line(found: Measurement) -> str:
    claim = load_claims()[found.id]
    judged = verdict(claim, {key: row.value for key, row in SESSION.items()})
    reported = f"reported {claim.quotable}" if claim.quotable != "—" else SOURCES[claim.source]
    note = f" <i>{html.escape(found.note)}.</i>" if found.note else ""
    return (
        f'<p class="ar-measured" id="measured-{claim.id}">'
        f'<span class="ar-verdict" data-verdict="{judged.words}">'
        f"{judged.words}</span> {html.escape(claim.statement)}: "
        f"measured <b>{found.value:.4g} {html.escape(claim.unit)}</b> (n = {found.n:,}), "
        f"{html.escape(reported)} ({html.escape(papers()[claim.citation])}, "
        f"{html.escape(claim.where)}).{note}</p>"
    )
