from __future__ import annotations

from pathlib import Path

import pytest
from small_book import COUNTING, chapter, execute

from armsrace.publishing.timetable import timetable
from armsrace.resources import CLONE

SOLUTION = '---\nmystnb: {code_prompt_show: "Show a solution"}\n---\n1 + 1'


def test_times_are_those_of_the_last_execution(project: Path) -> None:
    source = chapter(COUNTING, SOLUTION, ":tags: [slide]\n\n2 + 2")
    (project / "chapters/01_one.md").write_text(source)
    known = {"chapter": 1, "title": "A title", "exercises": 1, "slides": 1}
    assert timetable(root=project) == [known | {"executes in": "not executed here"}]
    (record,) = execute(project)
    assert timetable(root=project) == [known | {"executes in": f"{record.seconds:.0f} s"}]
    assert timetable("smoke", project)[0]["executes in"] == "not executed here"
    with pytest.raises(ValueError, match="profile"):
        timetable("quick", project)


def test_every_chapter_of_this_repository_has_a_row() -> None:
    rows = timetable(root=CLONE)
    numbers = [row["chapter"] for row in rows]
    assert numbers == sorted(set(numbers)) and len(numbers) >= 13
    assert all(row["exercises"] >= 3 for row in rows)
    assert all(6 <= row["slides"] <= 10 for row in rows[:4])
