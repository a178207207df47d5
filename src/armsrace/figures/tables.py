"""Tables of computed numbers, with the threat model for which the numbers hold."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from armsrace.contracts import check_at_least, check_choice
from armsrace.figures.interactive import Markup
from armsrace.ledger.measurements import Recording, recorded

ENDLESS = re.compile(r"\binf\b%?")
"""How Python prints infinity, alone or among the numbers of a cell."""
BALLS = {"linf": "‖δ‖∞", "l2": "‖δ‖₂", "l1": "‖δ‖₁", "l0": "‖δ‖₀"}


@dataclass(frozen=True)
class ThreatModel:
    """What an attacker knows, wants and may do. Without it a robustness number has no meaning.

    Args:
        knowledge: what the attacker knows, and whose gradient it uses.
        goal: what counts as success.
        norm: "linf", "l2", "l1" or "l0".
        epsilon: the budget in pixel units; None if it varies, "least" if the attack minimizes the
            perturbation without a budget.
        queries: forward and backward passes per image.
        images: how many and which.
    """

    knowledge: str
    goal: str
    norm: str
    epsilon: float | Literal["least"] | None
    queries: str
    images: str

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, tuple(BALLS))
        if isinstance(self.epsilon, str):
            check_choice("epsilon", self.epsilon, ("least",))
        elif self.epsilon is not None:
            check_at_least("epsilon", self.epsilon, 0)

    @property
    def budget(self) -> str:
        """The set of allowed perturbations as a formula, or the norm that is minimized."""
        if self.epsilon == "least":
            return f"the smallest {BALLS[self.norm]}"
        size = "ε" if self.epsilon is None else f"{self.epsilon:g}"
        return f"{BALLS[self.norm]} ≤ {size}"

    @property
    def sentence(self) -> str:
        """The threat model in one line, for below a table."""
        parts = (self.knowledge, self.goal, self.budget, self.queries, self.images)
        return "Threat model: " + "; ".join(parts) + "."

    def _repr_html_(self) -> str:
        rows = {
            "Knows": self.knowledge, "Wants": self.goal, "May change": self.budget,
            "Queries": self.queries, "Measured on": self.images,
        }  # fmt: skip
        cells = "".join(
            f'<tr><th scope="row">{name}</th><td>{html.escape(text)}</td></tr>'
            for name, text in rows.items()
        )
        return f'<table class="ar-threat"><tbody>{cells}</tbody></table>'


def table(
    rows: Sequence[Mapping[str, object]],
    *,
    caption: str,
    threat: ThreatModel | None = None,
    numbers: str = ",.4g",
) -> Markup:
    """An HTML table with a caption and a threat model.

    Args:
        rows: at least one; all with the same keys, the columns.
        caption: what the numbers are.
        threat: the threat model for which they hold.
        numbers: the format of every float, and of every tensor with one entry. ".1%" prints
            fractions as percentages.
    """
    if not rows or any(list(row) != list(rows[0]) for row in rows):
        raise ValueError("rows must be at least one, all with the same keys in the same order")
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(_text(cell, numbers))}</td>" for cell in row.values())
        + "</tr>"
        for row in rows
    )
    note = f'<p class="ar-threat-line">{html.escape(threat.sentence)}</p>' if threat else ""
    return Markup(
        f'<div class="ar-scroll" tabindex="0"><table class="ar-table">'
        f"<caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _text(cell: object, numbers: str) -> str:
    """A cell as text."""
    cell = cell.item() if isinstance(cell, Tensor) else cell
    text = format(cell, numbers) if isinstance(cell, float) else str(cell)
    return ENDLESS.sub("∞", text)


RACE = ("success", "median", "queries", "seconds")
"""The columns of a library in a recording of `benchmarks/searches.py`."""


def benchmarks() -> list[Markup]:
    """One table per race of `benchmarks/searches.py`: what each library found, and how quickly.

    Raises:
        FileNotFoundError: nothing was recorded.
        ValueError: its file is damaged.
    """
    races = recorded("benchmark")
    order = list(BALLS)
    chosen = sorted(races, key=lambda key: order.index(key.partition(", ")[0]))
    return [_race(key, races[key]) for key in chosen]


def _race(key: str, recording: Recording) -> Markup:
    """The table of one race, which is named by its norm and its attack."""
    norm, name = key.split(", ", 1)
    found = {
        library: dict(zip(RACE, numbers, strict=True))
        for library, numbers in recording.columns.items()
    }
    rows = [
        {
            "library": library,
            "success": f"{numbers['success']:.0%}",
            f"median {BALLS[norm]}": numbers["median"],
            "queries per image": f"{numbers['queries']:,.0f}",
            "seconds": f"{numbers['seconds']:.1f}",
            "time, ours = 1": f"{numbers['seconds'] / found['armsrace']['seconds']:.1f}",
        }
        for library, numbers in found.items()
    ]
    settings = recording.settings.partition("; columns")[0]
    caption = f"{name}: {settings}; {recording.provenance}"
    return table(rows, caption=caption, numbers=".4g")


def photograph_races() -> list[Markup]:
    """One table per norm of `benchmarks/imagenet.py`: each attack beside the quickest peer.

    Raises:
        FileNotFoundError: nothing was recorded.
        ValueError: its file is damaged.
    """
    races: dict[str, dict[str, dict[str, Recording]]] = {norm: {} for norm in BALLS}
    for key, recording in recorded("imagenet").items():
        norm, race, library = key.split(": ")
        races[norm].setdefault(race, {})[library] = recording
    return [_photograph_races(norm, found) for norm, found in races.items() if found]


def _photograph_races(norm: str, found: dict[str, dict[str, Recording]]) -> Markup:
    """The table of one norm. A library that did not finish has no `seconds`."""
    rows = []
    for race, libraries in found.items():
        ours = libraries["armsrace"]
        peers = {name: row for name, row in libraries.items() if name != "armsrace"}
        finished = {name: row for name, row in peers.items() if "seconds" in row.columns}
        quickest = min(finished, key=lambda name: finished[name].columns["passes"], default="")
        if peers and not quickest:
            quickest = next(iter(peers))
        row: dict[str, object] = {"attack": race, "settings": ours.settings}
        row |= _entry("ours", ours, norm)
        row["quickest peer"] = quickest or "none"
        row |= _entry("peer", peers[quickest] if quickest else None, norm)
        ratio = ""
        if quickest in finished:
            times = finished[quickest].columns["passes"][0], ours.columns["passes"][0]
            ratio = f"{times[0] / times[1]:.2f}"
        rows.append(row | {"peer’s time, ours = 1": ratio})
    recording = next(iter(found.values()))["armsrace"]
    caption = f"{BALLS[norm]} on two photographs with EfficientNet-Lite0: {recording.provenance}"
    return table(rows, caption=caption, numbers=".3g")


def _entry(whose: str, found: Recording | None, norm: str) -> dict[str, object]:
    """The cells of one library: success, mean distance, queries, seconds and memory."""
    names = ("success", f"mean {BALLS[norm]}", "queries", "seconds", "GiB")
    cells: tuple[object, ...] = ("", "", "", "", "")
    if found is not None and "seconds" in found.columns:
        columns = found.columns
        sizes = [size for size in columns["distances"] if size >= 0]
        cells = (
            f"{len(sizes)} of {found.n}",
            sum(sizes) / len(sizes) if sizes else "",
            f"{columns['queries'][0]:,.0f}",
            f"{columns['seconds'][0]:.1f}",
            f"{columns['gibibytes'][0]:.2f}",
        )
    elif found is not None:
        limit = found.columns.get("limit")
        cells = ("", "", "", f"> {limit[0]:.0f}" if limit else "failed", "")
    return {f"{whose}: {name}": cell for name, cell in zip(names, cells, strict=True)}


def common_provenance(found: Mapping[str, Recording]) -> str:
    """The provenance of recordings; each distinct one names its rows if there are several."""
    names: dict[str, list[str]] = {}
    for name, recording in found.items():
        names.setdefault(recording.provenance, []).append(name)
    if len(names) == 1:
        return next(iter(names))
    return ". ".join(f"{', '.join(of)}: {provenance}" for provenance, of in names.items())
