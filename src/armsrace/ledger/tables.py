"""The ledger as tables: a chapter's rows, the whole page, and the check that runs in CI."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from armsrace import datasets
from armsrace.contracts import check_choice
from armsrace.ledger.claims import SOURCES, Claim, Verdict, load_claims, papers, verdict
from armsrace.ledger.measurements import SESSION, Measurement, load_measured, provenance
from armsrace.resources import chapter_file, chapter_number

HEAD = ("Claim", "Reported", "Here", "Paper profile", "Verdict")


@dataclass(frozen=True)
class Table:
    """Rows of the ledger, shown as HTML in a notebook and on the site."""

    markup: str

    def _repr_html_(self) -> str:
        return self.markup


def table(*ids: str) -> Table:
    """The table of some claims, with the measurements of this process.

    Args:
        ids: of the claims.

    Raises:
        KeyError: a claim is unknown.
    """
    return Table(_markup(_chosen(ids), SESSION, load_measured("paper"), chapters=False))


def page() -> Table:
    """The table of all claims, with the stored measurements of both profiles and a summary."""
    here, paper = load_measured("reader"), load_measured("paper")
    claims = list(load_claims().values())
    counts = Counter(verdicts().values())
    summary = ", ".join(f"{counts[kind]} {kind.words}" for kind in sorted(Verdict, reverse=True))
    return Table(
        f'<p class="ar-summary"><b>{len(claims)} claims:</b> {summary}.</p>'
        + _markup(claims, here, paper, chapters=True)
    )


def verdicts() -> dict[str, Verdict]:
    """The verdict on each claim by its stored measurement, the reader profile's if there is one."""
    values = _values(load_measured("paper")) | _values(load_measured("reader"))
    return {claim.id: verdict(claim, values) for claim in load_claims().values()}


def check(profile: str) -> list[str]:
    """The problems with a profile's measurements, one sentence per claim; empty if there are none.

    It is a problem if a verdict is worse than expected, or if a measurement is missing although the
    data set is available on this machine.

    Args:
        profile: "reader" or "paper"; the others measure no claim as it is stated.
    """
    check_choice("profile", profile, ("reader", "paper"))
    values = _values(load_measured(profile))
    problems = []
    wanted = {claim.data for claim in load_claims().values() if claim.id not in values}
    absent = {name for name in wanted if not datasets.available(name)}
    for claim in load_claims().values():
        judged = verdict(claim, values)
        if judged < claim.expect and not (claim.id not in values and claim.data in absent):
            got = f"{values[claim.id]:.4g} {claim.unit}" if claim.id in values else "nothing"
            problems.append(
                f"{claim.id}: expected {claim.expect.words}, got {judged.words} ({got}, "
                f"band {claim.band}, direction {claim.direction}, above {claim.above}, "
                f"below {claim.below})"
            )
    return problems


def _chosen(ids: Iterable[str]) -> list[Claim]:
    """The claims with these ids."""
    claims = load_claims()
    unknown = [id for id in ids if id not in claims]
    if unknown:
        raise KeyError(f"ids must be claims of data/claims.yml, got {', '.join(unknown)}")
    return [claims[id] for id in ids]


def _values(measured: Mapping[str, Measurement]) -> dict[str, float]:
    """The measured numbers by claim."""
    return {key: row.value for key, row in measured.items()}


def _markup(
    claims: Iterable[Claim],
    here: Mapping[str, Measurement],
    paper: Mapping[str, Measurement],
    chapters: bool,
) -> str:
    """The table as HTML."""
    head = (*HEAD, "Chapter") if chapters else HEAD
    values = _values(paper) | _values(here)
    rows = "".join(_row(claim, values, here, paper, chapters) for claim in claims)
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    return (
        f'<div class="ar-scroll" tabindex="0"><table class="ar-ledger"><thead><tr>{titles}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _row(
    claim: Claim,
    values: Mapping[str, float],
    here: Mapping[str, Measurement],
    paper: Mapping[str, Measurement],
    chapters: bool,
) -> str:
    """One claim as HTML."""
    judged = verdict(claim, values)
    cells = [
        f"{html.escape(claim.statement)}<br><small>{html.escape(claim.protocol)}.<br>"
        f"{html.escape(papers()[claim.citation])}, {html.escape(claim.where)}; "
        f"{SOURCES[claim.source]}</small>",
        html.escape(claim.quotable),
        _number(claim, here),
        _number(claim, paper),
        f'<span class="ar-verdict" data-verdict="{judged.words}">{judged.words}</span>'
        f"<br><small>{html.escape(claim.why)}</small>",
    ]
    cells += [_source(claim, here)] if chapters else []
    return (
        f'<tr id="claim-{claim.id}" data-verdict="{judged.words}" data-chapter="{_chapter(claim)}">'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _source(claim: Claim, here: Mapping[str, Measurement]) -> str:
    """The chapter's number, linked to the cell that shows the measurement, else to the row."""
    found = here.get(claim.id)
    anchor = f"measured-{claim.id}" if found and found.shown else f"claim-{claim.id}"
    try:
        page = chapter_file(claim.chapter).stem
    except FileNotFoundError:
        return _chapter(claim)
    return f'<a href="../chapters/{page}.html#{anchor}">{_chapter(claim)}</a>'


def _chapter(claim: Claim) -> str:
    """The number of a claim's chapter; outside a clone, its topic."""
    try:
        return str(chapter_number(claim.chapter))
    except FileNotFoundError:
        return claim.chapter


def _number(claim: Claim, measured: Mapping[str, Measurement]) -> str:
    """A measurement with its provenance and its note; a dash without one."""
    found = measured.get(claim.id)
    if found is None:
        return "—"
    detail = html.escape(provenance(found, command=False))
    note = f"<br><i>{html.escape(found.note)}</i>" if found.note else ""
    ran = f"<br><code>{html.escape(found.command)}</code>" if found.command else ""
    return (
        f"<b>{found.value:.4g}</b> {html.escape(claim.unit)}<br><small>{detail}{note}{ran}</small>"
    )
