"""Claims of the literature (`data/claims.yml`) and the rule that turns a number into a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from armsrace.resources import data_root

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader in C, which is ten times quicker, where PyYAML was built with it."""

SOURCES = {
    "paper": "read in the paper",
    "code": "read in the authors' code or data",
    "seed": "read in one of the documents that the course was founded on",
    "secondary": "quoted by another publication",
    "memory": "remembered and not yet checked: a lead, not a quotation",
}


class Verdict(IntEnum):
    """How a measurement stands to its claim; greater is better."""

    NOT_MEASURED = 0
    NOT_REPRODUCED = 1
    DIRECTION_ONLY = 2
    REPRODUCED = 3

    @property
    def words(self) -> str:
        """As it is printed."""
        return self.name.lower().replace("_", " ")


class Claim(BaseModel):
    """One number of one paper.

    reported and band are in `unit`; within the band (both ends included) our number counts as
    reproduced. `direction` is the wider interval, and `above` and `below` are other claims, whose
    measurements must lie under or over this one's: where all of them hold, the direction does.
    A claim without a band is about that order alone. `expect` is the verdict that CI insists on
    where the data set is at hand, and `why` the reason for any but "reproduced".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    citation: str
    where: str
    chapter: int
    statement: str
    protocol: str
    unit: str
    reported: float | None = None
    source: Literal["paper", "code", "seed", "secondary", "memory"]
    band: tuple[float, float] | None = None
    direction: tuple[float, float] | None = None
    above: str | None = None
    below: str | None = None
    data: Literal["mnist", "cifar10"] = "mnist"
    expect: Verdict = Verdict.REPRODUCED
    why: str = ""

    @field_validator("expect", mode="before")
    @classmethod
    def _from_words(cls, value: object) -> object:
        named = {verdict.words: verdict for verdict in Verdict}
        return named.get(value, value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        if self.expect is not Verdict.REPRODUCED and not self.why:
            raise ValueError(f"{self.id}: why must be given where expect is not reproduced")
        rules = (self.band, self.direction, self.above, self.below)
        if self.expect is not Verdict.NOT_MEASURED and all(rule is None for rule in rules):
            raise ValueError(f"{self.id}: needs a band, a direction or an order to be judged by")
        return self

    @property
    def quotable(self) -> str:
        """The reported number as it may be printed; one known from memory alone may not."""
        if self.reported is None or self.source == "memory":
            return "—"
        return f"{self.reported:g} {self.unit}"


@cache
def load_claims() -> Mapping[str, Claim]:
    """All claims by id, in the file's order; raises ValueError for a double id or unknown order."""
    content = _content()
    claims: dict[str, Claim] = {}
    for row in content["claims"]:
        claim = Claim.model_validate(row)
        if claim.id in claims:
            raise ValueError(f"claims.yml has the id {claim.id} twice")
        claims[claim.id] = claim
    for claim in claims.values():
        for other in (claim.above, claim.below):
            if other is not None and other not in claims:
                raise ValueError(f"{claim.id} is ordered against {other}, which is no claim")
    return claims


@cache
def papers() -> Mapping[str, str]:
    """Citation key to the short name that tables print."""
    return dict(_content()["papers"])


def _content() -> dict[str, Any]:
    path = data_root() / "claims.yml"
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not {"claims", "papers"} <= content.keys():
        raise ValueError(f"{path} must hold `claims` and `papers`: is it cut short?")
    return content


def verdict(claim: Claim, values: Mapping[str, float]) -> Verdict:
    """The verdict on a claim, given all measured values by id (each in its own claim's unit)."""
    if claim.id not in values:
        return Verdict.NOT_MEASURED
    value = values[claim.id]
    ordered = (claim.above is None or value > values.get(claim.above, float("inf"))) and (
        claim.below is None or value < values.get(claim.below, float("-inf"))
    )
    if ordered and _within(value, claim.band) and (claim.band or not claim.direction):
        return Verdict.REPRODUCED
    has_direction = claim.direction or claim.above or claim.below
    if has_direction and ordered and _within(value, claim.direction):
        return Verdict.DIRECTION_ONLY
    return Verdict.NOT_REPRODUCED


def _within(value: float, interval: tuple[float, float] | None) -> bool:
    return interval is None or interval[0] <= value <= interval[1]
