"""How long each notebook of the last build took, and how long it may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nbformat

from armsrace.publishing.execution import Record, own_code_cells
from armsrace.publishing.layout import Layout, Notebook, notebooks

CHAPTER_SECONDS = 90.0
"""The limit for one page of the reader profile."""
AVERAGE_SECONDS = 40.0
BOOK_SECONDS = 720.0
"""The limit for all pages together: six minutes on two cores."""


@dataclass(frozen=True)
class Time:
    """One page's execution, and its code."""

    page: Notebook
    record: Record
    sources: tuple[str, ...]

    @property
    def startup(self) -> float:
        """The seconds outside its cells: engine, kernel, writing the notebook."""
        return self.record.seconds - sum(self.record.cells)

    def slowest(self, count: int) -> list[tuple[float, str]]:
        """The seconds and the first line of the slowest cells."""
        cells = zip(self.record.cells, self.sources, strict=True)
        ordered = sorted(cells, key=lambda cell: cell[0], reverse=True)
        return [(seconds, source.strip().partition("\n")[0]) for seconds, source in ordered[:count]]


def times(layout: Layout) -> tuple[list[Time], list[Notebook]]:
    """The pages that the last build executed, in the book's order, and the pages it did not."""
    found, absent = [], []
    for page in notebooks(layout.root):
        record = Record.read(layout.records / f"{page.name}.json")
        executed = layout.notebooks / f"{page.name}.ipynb"
        if record is None or not executed.is_file():
            absent.append(page)
            continue
        cells = own_code_cells(nbformat.read(executed, 4))
        found.append(Time(page, record, tuple(cell.source for cell in cells)))
    return found, absent


def excesses(found: Sequence[Time], absent: Sequence[Notebook]) -> list[str]:
    """One sentence for each limit that the book exceeds; empty if it exceeds none."""
    problems = [f"{page.label} was not executed" for page in absent]
    problems += [
        f"{time.page.label} took {time.record.seconds:.0f} s, {CHAPTER_SECONDS:.0f} s allowed"
        for time in found
        if time.record.seconds > CHAPTER_SECONDS
    ]
    total = sum(time.record.seconds for time in found)
    if found and total / len(found) > AVERAGE_SECONDS:
        mean = total / len(found)
        problems.append(f"{mean:.0f} s a page on average, {AVERAGE_SECONDS:.0f} s allowed")
    if total > BOOK_SECONDS:
        problems.append(f"{total:.0f} s in all, {BOOK_SECONDS:.0f} s allowed")
    return problems
