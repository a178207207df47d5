"""Measured numbers and their provenance: what they were measured on, where, when, with which code.

A `Measurement` is one number that belongs to a claim. A chapter makes it. A `Recording` is a curve
or a table that takes longer than a page may; a benchmark makes it, and a page reads it.
"""

from __future__ import annotations

import html
import json
import math
import os
import shlex
import sys
from collections.abc import Iterable
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, TypeAdapter
from torch import Tensor

from armsrace import datasets
from armsrace.ledger.claims import SOURCES, load_claims, papers, verdict
from armsrace.resources import CLONE, code_version, data_root, device_name, replacing

if TYPE_CHECKING:
    import pandas as pd

    from armsrace.models.zoo import Card

MIME = "application/vnd.armsrace.measurement+json"


class Measurement(BaseModel):
    """One number that this code measured, in its claim's unit, over n images.

    `command` is what measured it if no page did; `note` is what differs from the claim's protocol;
    `shown` is whether the page that measured it shows it beside the cell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    value: float
    n: int
    data: str
    device: str
    date: str
    commit: str
    note: str = ""
    command: str = ""
    shown: bool = True

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        return {MIME: self.model_dump(), "text/html": _line(self), "text/plain": repr(self)}


MEASUREMENTS = TypeAdapter(list[Measurement])
SESSION: dict[str, Measurement] = {}
"""The measurements of this process, by claim."""


def measure(
    id: str,
    value: float,
    *,
    n: int,
    data: str | None = None,
    note: str = "",
    recording: Recording | None = None,
) -> float:
    """Record a measurement, show it with its claim if a notebook runs, and return the value.

    Without a recording, the value was computed in this process: the measurement gets today's date,
    this machine's device, this code's commit, and the running script's command.

    Args:
        id: of the claim.
        value: the number, in the claim's unit; it must be finite.
        n: on how many images it was measured.
        data: which images; by default the recording's, else the MNIST in use.
        note: what differs from the claim's protocol.
        recording: where a stored value is from. Its device, date, commit and command are kept, and
            the note begins with "recorded".

    Returns:
        The value.

    Raises:
        KeyError: the claim is unknown.
    """
    claims = load_claims()
    if id not in claims:
        raise KeyError(f"id must be a claim of data/claims.yml, got {id!r}")
    if not math.isfinite(value):
        raise ValueError(f"value must be finite, got {value}")
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    if recording is None:
        found = Measurement(
            id=id, value=float(value), n=n, data=data or _mnist(os.environ.get("ARMSRACE_DATA")),
            device=device_name(), date=date.today().isoformat(), commit=code_version(), note=note,
            command=command(),
        )  # fmt: skip
    else:
        found = Measurement(
            id=id, value=float(value), n=n, data=data or recording.data,
            device=recording.device, date=recording.date, commit=recording.commit,
            note="; ".join(filter(None, ("recorded", recording.settings, note))),
            command=recording.command,
        )  # fmt: skip
    SESSION[id] = found
    if "IPython" in sys.modules:
        sys.modules["IPython"].display.display(found)
    return found.value


def command() -> str:
    """The command that runs a script of this clone's benchmarks; empty in any other program.

    Of an absolute path the name is kept: the folder means nothing on another machine.
    """
    script = Path(sys.argv[0]).resolve()
    if script.parent != CLONE / "benchmarks" or not script.is_file():
        return ""
    given = []
    for part in sys.argv[1:]:
        option, equals, value = part.rpartition("=")
        given.append(option + equals + (Path(value).name if Path(value).is_absolute() else value))
    return shlex.join(["python", script.relative_to(CLONE).as_posix(), *given])


@cache
def _mnist(folder: str | None) -> str:
    """The MNIST in use, read and checked once per $ARMSRACE_DATA (folder)."""
    return datasets.describe("mnist")


def _line(found: Measurement) -> str:
    """A measurement with its claim and verdict, as HTML."""
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


def measured_path(profile: str) -> Path:
    """The file of a profile's measurements; the paper profile's comes with the source."""
    if profile == "paper":
        return data_root() / "measured" / "paper.json"
    return CLONE / "_build" / "measured" / f"{profile}.json"


def load_measured(profile: str) -> dict[str, Measurement]:
    """A profile's stored measurements by claim; empty if it was never run.

    Raises:
        ValueError: the file cannot be read.
    """
    path = measured_path(profile)
    if not path.exists():
        return {}
    try:
        found = MEASUREMENTS.validate_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read, delete it and build again: {error}") from error
    return {row.id: row for row in found}


class Recording(BaseModel):
    """Columns of numbers, all measured on the same n images.

    Args:
        columns: {name: numbers}; rates are in [0, 1].
        settings: what was run, in one line.
        n: how many images.
        data: which images.
        device: on which it was measured.
        date: when.
        commit: of the code.
        command: what measured it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, list[float]]
    settings: str
    n: int
    data: str
    device: str
    date: str
    commit: str
    command: str = ""

    @classmethod
    def from_outcomes(cls, outcomes: pd.DataFrame) -> Recording:
        """The provenance of the arena's outcomes, without columns, as a recording."""
        n, dates = outcomes["image"].nunique(), sorted(set(outcomes["date"]))
        names = dict.fromkeys(outcomes["defense"])
        chosen = " ".join(f"--defense {name}" for name in names)
        return cls(
            columns={}, settings="the arena's outcomes", n=n, data=distinct(outcomes["data"]),
            device=distinct(outcomes["device"]),
            date=" to ".join(dict.fromkeys((dates[0], dates[-1]))),
            commit=distinct(outcomes["commit"]),
            command=f"armsrace arena run --digits {n} {chosen}",
        )  # fmt: skip

    @classmethod
    def from_cards(cls, *cards: Card) -> Recording:
        """The provenance of what networks' cards report, without columns, as a recording.

        A card has no commit; the version of torch takes its place.
        """
        return cls(
            columns={}, settings="the network's card",
            n=cards[0].test_images,
            data=f"{cards[0].data.partition(',')[0]}, {cards[0].test_images:,} test images",
            device=distinct(c.device for c in cards), date=distinct(c.trained for c in cards),
            commit=distinct(f"torch {c.torch}" for c in cards),
            command=distinct(c.recipe for c in cards),
        )  # fmt: skip

    @property
    def provenance(self) -> str:
        """One line for below a figure or a table."""
        return provenance(self)


def provenance(found: Measurement | Recording, command: bool = True) -> str:
    """On how many and which images, on what, when, with which code and by which command."""
    parts = (found.data.partition(", from ")[0], found.device, found.date, found.commit)
    ran = found.command if command else ""
    return "; ".join(filter(None, (f"n = {found.n:,}", *parts, ran)))


def distinct(texts: Iterable[str | None]) -> str:
    """The distinct texts in their order, separated by commas."""
    return ", ".join(dict.fromkeys(filter(None, texts)))


RECORDINGS = TypeAdapter(dict[str, Recording])


def record(
    study: str, name: str, columns: dict[str, list[float]], *, settings: str, n: int, data: str
) -> Recording:
    """Store one recording in the study's file; it replaces the one of the same name."""
    found = Recording(
        columns=columns, settings=settings, n=n, data=data,
        device=device_name(), date=date.today().isoformat(), commit=code_version(),
        command=command(),
    )  # fmt: skip
    rows = (recorded(study) if _path(study).is_file() else {}) | {name: found}
    content = {key: rows[key].model_dump() for key in sorted(rows)}
    with replacing(_path(study)) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return found


def recorded(study: str) -> dict[str, Recording]:
    """The recordings of a study, in data/measured/STUDY.json, by name.

    Raises:
        FileNotFoundError: nothing was recorded.
        ValueError: the file cannot be read.
    """
    path = _path(study)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the study's script in benchmarks/")
    try:
        return RECORDINGS.validate_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read, record it again: {error}") from error


def record_change(study: str, name: str, change: Tensor) -> None:
    """Store a perturbation (1, 3, H, W) in whole gray levels as a picture, where 128 is no change.

    The picture holds no image, only what is added to one.

    Raises:
        ValueError: the change is not one of color images, or exceeds 127 gray levels.
    """
    levels = (255 * change.detach().cpu()).round()
    if levels.ndim != 4 or levels.shape[:2] != (1, 3) or levels.abs().max() > 127:
        raise ValueError("change must be (1, 3, H, W), of at most 127 gray levels")
    pixels = (128 + levels[0]).to(torch.uint8).permute(1, 2, 0).numpy()
    with replacing(data_root() / "measured" / study / f"{name}.png") as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG", optimize=True)


def recorded_change(study: str, name: str) -> Tensor:
    """The perturbation (1, 3, H, W) that `record_change` stored beside a study's numbers."""
    path = data_root() / "measured" / study / f"{name}.png"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the study's script in benchmarks/")
    with Image.open(path) as picture:
        pixels = torch.from_numpy(np.array(picture))
    return (pixels.permute(2, 0, 1)[None].float() - 128) / 255


def is_recorded(study: str, name: str) -> bool:
    """Whether the study's file has a recording of this name."""
    return _path(study).is_file() and name in recorded(study)


def _path(study: str) -> Path:
    """The file of a study."""
    return data_root() / "measured" / f"{study}.json"
