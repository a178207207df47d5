"""The claims of the literature (`data/claims.yml`), and the rule that gives a verdict on each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from armsrace.resources import data_root

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C if PyYAML was built with it: it is ten times faster."""

SOURCES = {
    "paper": "read in the paper",
    "code": "read in the authors' code or data",
    "seed": "read in one of the documents that the course was founded on",
    "secondary": "quoted by another publication",
    "memory": "not yet checked at the source, so its number is not printed",
}


class Verdict(IntEnum):
    """How a measurement agrees with its claim; greater is better."""

    NOT_MEASURED = 0
    NOT_REPRODUCED = 1
    DIRECTION_ONLY = 2
    ORDER_HOLDS = 3
    REPRODUCED = 4

    @property
    def words(self) -> str:
        """The verdict as printed."""
        return self.name.lower().replace("_", " ")


class Claim(BaseModel):
    """One number of one paper.

    `reported` and `band` are in `unit`. A measurement within the band, both ends included, counts
    as reproduced; where no number can be printed as the paper's, the band only says what the
    statement means, and the order holds. `direction` is a wider interval. `above` and `below` name
    other claims: this one's measurement must be greater than that of `above` and smaller than that
    of `below`. If all of these hold, the direction is reproduced. A claim without a band is only
    about the order, which then holds or does not. `chapter` is the topic of the chapter that
    measures it, such as "fgsm". `expect` is the verdict that CI requires if the data set is
    available, and `why` is the reason for any other than the best.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    citation: str
    where: str
    chapter: str
    statement: str
    protocol: str
    unit: str
    reported: float | None = None
    source: Literal["paper", "code", "seed", "secondary", "memory"]
    band: tuple[float, float] | None = None
    direction: tuple[float, float] | None = None
    above: str | None = None
    below: str | None = None
    data: Literal["mnist", "cifar10", "imagenet-samples"] = "mnist"
    expect: Verdict = Verdict.REPRODUCED
    why: str = ""

    @field_validator("expect", mode="before")
    @classmethod
    def _from_words(cls, value: object) -> object:
        """A verdict from its printed form."""
        named = {verdict.words: verdict for verdict in Verdict}
        return named.get(value, value) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _best_by_default(cls, values: Any) -> Any:
        """Expect the best verdict where none is given."""
        if not isinstance(values, dict) or "expect" in values:
            return values
        return values | {"expect": _best(*map(values.get, ("reported", "band", "source")))}

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        """Check that a verdict can be given, and that one unlike the paper's has a reason."""
        if self.expect > self.best:
            raise ValueError(f"{self.id}: expect must be at most {self.best.words!r}")
        if self.expect < self.best and not self.why:
            raise ValueError(f"{self.id}: why must be given where expect is not {self.best.words}")
        rules = (self.band, self.direction, self.above, self.below)
        if self.expect is not Verdict.NOT_MEASURED and all(rule is None for rule in rules):
            raise ValueError(f"{self.id}: needs a band, a direction or an order to be judged by")
        return self

    @property
    def best(self) -> Verdict:
        """The best verdict there is: without a printed number, or a band, none is reproduced."""
        return _best(self.reported, self.band, self.source)

    @property
    def quotable(self) -> str:
        """The reported number as printed; a number known only from memory is not printed."""
        if self.reported is None or self.source == "memory":
            return "—"
        return f"{self.reported:g} {self.unit}"


def _best(reported: object, band: object, source: object) -> Verdict:
    """The best verdict on a claim with these fields."""
    judged = reported is not None and band is not None and source != "memory"
    return Verdict.REPRODUCED if judged else Verdict.ORDER_HOLDS


@cache
def load_claims() -> Mapping[str, Claim]:
    """All claims by id, in the file's order; ValueError for a duplicate id or unknown claim."""
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
    """The short name of each paper, by citation key."""
    return dict(_content()["papers"])


def _content() -> dict[str, Any]:
    """The file, parsed."""
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
        return claim.best
    has_direction = claim.direction or claim.above or claim.below
    if has_direction and ordered and _within(value, claim.direction):
        return Verdict.DIRECTION_ONLY
    return Verdict.NOT_REPRODUCED


def _within(value: float, interval: tuple[float, float] | None) -> bool:
    """Whether a value is in an interval; None is all numbers."""
    return interval is None or interval[0] <= value <= interval[1]
