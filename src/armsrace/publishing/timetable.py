"""How long each chapter took in this build, and what it brings to a class."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext

from armsrace.publishing.editions import student
from armsrace.publishing.grading import CHECK
from armsrace.publishing.layout import Layout, notebooks
from armsrace.publishing.notebooks import Record
from armsrace.publishing.slides import is_slide
from armsrace.resources import CLONE

TITLE = re.compile(r"^# +(.+)$", re.MULTILINE)


def timetable(profile: str = "reader", root: Path = CLONE) -> list[dict[str, object]]:
    """A row a chapter: number, title, seconds of its last execution, exercises, slides.

    profile: whose executions; a chapter that was not executed under it says so. Slides count
    without the title's. Raises ValueError for another profile.
    """
    layout = Layout(profile, root)
    rows: list[dict[str, object]] = []
    for page in notebooks(root):
        if not page.is_chapter:
            continue
        cells = student(jupytext.read(page.path)).cells
        record = Record.read(layout.records / f"{page.name}.json")
        title = TITLE.search(cells[0].source)
        rows.append(
            {
                "chapter": page.number,
                "title": title.group(1) if title else page.name,
                "executes in": f"{record.seconds:.0f} s" if record else "not executed here",
                "exercises": sum(len(CHECK.findall(cell.source)) for cell in cells),
                "slides": sum(map(is_slide, cells)),
            }
        )
    return rows
