"""What one check of `armsrace doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """One check. `missing` is what a chapter fails without; `remedy` says what to do about it."""

    check: str
    state: State
    detail: str
    remedy: str = ""
