"""A board of what a class has solved, fed by the grader: one page that reloads itself."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Template

from armsrace.publishing.grading import Grade, Task, grade, tasks, topic_of_submission
from armsrace.publishing.layout import Notebook
from armsrace.resources import replacing

RESULTS, PAGE = "results.json", "index.html"
RELOADED = 15
"""Seconds after which the page reloads itself."""
Grader = Callable[[Path, Sequence[Notebook]], list[Grade]]


@dataclass(frozen=True)
class Entry:
    """One submitted notebook.

    name: the student's, or the group's. topic: the chapter's. digest: of the file that was graded.
    solved: {exercise: when it was first right, in UTC}; what was right once stays. attempted: the
    exercises with an answer. problem: why the file could not be graded, if it could not.
    """

    name: str
    topic: str
    digest: str
    solved: dict[str, str]
    attempted: list[str]
    problem: str = ""


def update(
    submissions: Path,
    folder: Path,
    chapters: Sequence[Notebook],
    *,
    grader: Grader = grade,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[str]:
    """Grade the notebooks that have changed, and write the board.

    Args:
        submissions: NAME.ipynb, or folders NAME with notebooks at any depth, as nbgrader has them.
            Names are shown as they are: let students choose them.
        folder: of the board: `index.html`, which may be public, and `results.json`.
        chapters: of the course.
        grader: judges one notebook.
        now: the time at which an answer counts as right.

    Returns:
        The files that were graded, from `submissions`. An exercise that is right once stays so.
    """
    known = _read(folder / RESULTS)
    found: dict[str, Entry] = {}
    graded = []
    for path in sorted(submissions.rglob("*.ipynb")):
        key = path.relative_to(submissions).as_posix()
        if any(part.startswith(".") for part in path.relative_to(submissions).parts):
            continue  # Such as .ipynb_checkpoints.
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        before = known.get(key)
        if before is not None and before.digest == digest:
            found[key] = before
            continue
        found[key] = _graded(path, key, digest, before, chapters, grader, now)
        graded.append(key)
    _write(folder / RESULTS, json.dumps({key: asdict(one) for key, one in found.items()}, indent=1))
    _write(folder / PAGE, page(list(found.values()), chapters))
    return graded


def watch(
    submissions: Path, folder: Path, chapters: Sequence[Notebook], *, every: float,
    report: Callable[[str], None],
) -> None:  # fmt: skip
    """Update the board every so many seconds, until interrupted."""
    try:
        while True:
            for key in update(submissions, folder, chapters):
                report(f"graded {key}")
            time.sleep(every)
    except KeyboardInterrupt:
        return


def _graded(
    path: Path, key: str, digest: str, before: Entry | None, chapters: Sequence[Notebook],
    grader: Grader, now: Callable[[], datetime],
) -> Entry:  # fmt: skip
    """The entry of one notebook."""
    name = Path(key).parts[0] if "/" in key else path.stem
    solved = dict(before.solved) if before else {}
    try:
        topic = topic_of_submission(path)
        grades = grader(path, chapters)
    except (OSError, ValueError) as error:
        topic = before.topic if before else ""
        return Entry(name, topic, digest, solved, list(solved), str(error))
    moment = now().isoformat(timespec="seconds")
    for one in grades:
        if one.verdict.startswith("right"):
            solved.setdefault(one.exercise, moment)
    attempted = [one.exercise for one in grades if not one.verdict.startswith("not attempted")]
    return Entry(name, topic, digest, solved, attempted)


def _read(path: Path) -> dict[str, Entry]:
    """The entries of the last update, by file; ValueError names a file that cannot be read."""
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {key: Entry(**row) for key, row in rows.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read, remove it: {error!r}") from error


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(entries: Sequence[Entry], chapters: Sequence[Notebook]) -> str:
    """The board as HTML: a table for each chapter that someone has handed in.

    A right answer is worth one point for each star. Those with as many points are in the order in
    which they got there.
    """
    tables = []
    for chapter in chapters:
        text = chapter.path.read_text(encoding="utf-8")
        # The exercises' module has the chapter's topic.
        own = [entry for entry in entries if entry.topic == chapter.topic]
        announced = tasks(text)
        if own and announced:
            title = next(line[2:] for line in text.splitlines() if line.startswith("# "))
            rows = sorted((_row(entry, announced) for entry in own), key=_order)
            tables.append({"title": title, "tasks": announced, "rows": rows})
    problems = sorted({entry.name for entry in entries if entry.problem})
    return str(_BOARD.render(tables=tables, problems=problems, reloaded=RELOADED))


def _row(entry: Entry, announced: Sequence[Task]) -> dict[str, object]:
    """What the page says of one notebook."""
    points = sum(task.stars for task in announced if task.title in entry.solved)
    cells = [
        {
            "state": "right" if task.title in entry.solved
            else "tried" if task.title in entry.attempted else "open",
            "time": entry.solved.get(task.title, ""),
        }
        for task in announced
    ]  # fmt: skip
    last = max((entry.solved[task.title] for task in announced if task.title in entry.solved),
               default="")  # fmt: skip
    return {"name": entry.name, "points": points, "cells": cells, "last": last}


def _order(row: dict[str, object]) -> tuple[object, ...]:
    """Most points first, then the earlier one."""
    return -int(str(row["points"])), str(row["last"]), str(row["name"])


_BOARD = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Board · The Arms Race</title>
<style>
:root { color-scheme: light dark; --ink: light-dark(#222b33, #e6e9ec);
  --paper: light-dark(#fcfbf8, #14181c); --rule: light-dark(#ddd7ca, #3a434b);
  --soft: light-dark(#5a6570, #a6b0ba); --good: light-dark(#2a6e4a, #7fd1a4); }
body { background: var(--paper); color: var(--ink); font: 1.05rem/1.5 system-ui, sans-serif;
  margin: 0 auto; max-width: 70rem; padding: 1rem 1.25rem 4rem; }
h1, h2 { font-family: Palatino, Georgia, serif; line-height: 1.2; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; min-width: 100%; }
th, td { border-bottom: 1px solid var(--rule); padding: 0.4em 0.8em; text-align: left;
  vertical-align: bottom; }
thead th { color: var(--soft); font-size: 0.85rem; font-weight: 400; max-width: 11rem; }
tbody th { font-weight: 600; white-space: nowrap; }
.points { font-variant-numeric: tabular-nums; text-align: right; }
.right { color: var(--good); font-weight: 700; }
.tried, .open, time, p { color: var(--soft); }
time { display: block; font-size: 0.75rem; font-weight: 400; }
</style>
</head>
<body>
<main>
<h1>Who has solved what</h1>
<p>✓ right, when it first was; … tried, not right yet; – no answer yet. An answer is worth a point
for each star.</p>
<p><label><input type="checkbox" id="live" checked> Reload every {{ reloaded }} seconds</label></p>
<script>
const live = document.getElementById("live");
live.checked = true;
setInterval(() => live.checked && location.reload(), 1000 * {{ reloaded }});
</script>
{% for table in tables %}
<section aria-label="{{ table.title | e }}">
<h2>{{ table.title | e }}</h2>
<div class="scroll" tabindex="0" role="region" aria-label="{{ table.title | e }}: the table">
<table>
<thead><tr><th scope="col">name</th><th scope="col" class="points">points</th>
{% for task in table.tasks %}<th scope="col">{{ task.title | e }}<br>{{ "★" * task.stars }}{%
  if task.challenge %} open challenge{% endif %}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr><th scope="row">{{ row.name | e }}</th>
<td class="points">{{ row.points }}</td>
{% for cell in row.cells %}<td class="{{ cell.state }}">{% if cell.state == "right" %}✓ <time
  datetime="{{ cell.time }}">{{ cell.time[5:16] | replace("T", " ") }} UTC</time>{%
  elif cell.state == "tried" %}…{% else %}–{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
</div>
</section>
{% else %}<p>Nothing has been handed in yet.</p>
{% endfor %}
{% if problems %}<p>A file of these cannot be graded: {{ problems | join(", ") | e }}.</p>
{% endif %}
</main>
</body>
</html>
"""
)
