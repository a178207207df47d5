from __future__ import annotations

import re
from pathlib import Path

import pytest

from armsrace.publishing.grading import timetable
from armsrace.publishing.layout import numbering
from armsrace.resources import CLONE
from tests.publishing.small_book import COUNTING, chapter, execute

EXERCISE = """from types import SimpleNamespace
exercises, one = SimpleNamespace(check_one=print), None
exercises.check_one(one)"""
SOLUTION = """---
mystnb: {code_prompt_show: "Show a solution"}
---
exercises.check_one(exercises)"""


def test_times_are_those_of_the_last_execution(project: Path) -> None:
    source = chapter(COUNTING, EXERCISE, SOLUTION, ":tags: [slide]\n\n2 + 2")
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
    assert all(3 <= row["exercises"] <= 7 for row in rows)
    assert all(6 <= row["slides"] <= 10 for row in rows[:4])


def test_the_guide_plans_every_chapter_once_and_names_exercises_that_exist() -> None:
    guide = (CLONE / "book" / "teaching.md").read_text()
    weeks = [row.split("|")[2] for row in guide.splitlines() if re.match(r"\| \d+ \|", row)]
    assert len(weeks) == 14
    planned = [topic for week in weeks for topic in re.findall(r"<(\w+)>`,", week)]
    assert planned == list(numbering(CLONE))
    texts = [path.read_text() for path in (CLONE / "chapters").glob("*.md")]
    known = {
        title
        for text in texts
        for title in re.findall(r"^### (.+)", text.partition("## Exercises")[2], re.MULTILINE)
    }
    named = set(re.findall(r"“(.+?)”", guide.partition("## Fourteen weeks")[2]))
    assert len(named) > 15
    assert named <= known


def test_the_evenings_reach_every_defense_and_the_last_chapter() -> None:
    guide = (CLONE / "book" / "teaching.md").read_text()
    evenings = guide.partition("## Seven evenings")[2].partition("\n## ")[0]
    rows = [row.split("|")[2] for row in evenings.splitlines() if row.startswith("| ")][1:]
    planned = [topic for row in rows for topic in re.findall(r"<(\w+)>`", row)]
    assert len(rows) == 7
    topics = list(numbering(CLONE))
    assert (
        planned
        == topics[topics.index("when_attacks_fail") :][:1]
        + topics[topics.index("one_step_training") :]
    )
