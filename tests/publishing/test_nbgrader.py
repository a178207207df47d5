"""Assignments of nbgrader: what it wants of a cell, no solution for students, and honest points."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from nbformat import NotebookNode, read
from pybtex.database import parse_file
from typer.testing import CliRunner

from armsrace import cli
from armsrace.exercises import Exercise, ExerciseError, fgsm
from armsrace.publishing.grading import CHECK, Task, tasks
from armsrace.publishing.launch_notebooks import is_solution, launchable, student
from armsrace.publishing.layout import Notebook, notebooks
from armsrace.publishing.nbgrader import BEGIN, END, assignment
from armsrace.resources import CLONE

REFERENCES = parse_file(str(CLONE / "book" / "references.bib"))
CHAPTERS = [page for page in notebooks(CLONE) if page.is_chapter]
REGION = re.compile(rf"{BEGIN}\n.*?{END}", re.DOTALL)
# Of nbgrader's schema, version 3.
REQUIRED = {"schema_version", "grade", "grade_id", "locked", "solution", "task"}


@pytest.fixture(params=CHAPTERS, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Notebook:
    return request.param


@pytest.fixture
def whole(page: Notebook) -> NotebookNode:
    return launchable(page, REFERENCES, None, {})


def own(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that nbgrader looks at."""
    return [cell for cell in notebook.cells if "nbgrader" in cell.metadata]


def lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.strip()}


def test_each_exercise_has_an_answer_a_check_and_a_reason(page: Notebook, whole) -> None:
    found = [cell.metadata.nbgrader for cell in own(assignment(whole))]
    assert all(set(data) - {"points"} == REQUIRED for data in found)
    assert all(data.schema_version == 3 and not data.task for data in found)
    ids = [data.grade_id for data in found]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[\w-]+", name) for name in ids)
    announced = tasks(page.path.read_text(encoding="utf-8"))
    answers = [name for name in ids if name.startswith("answer_")]
    checks = [data for data in found if data.grade and data.locked]
    reasons = [data for data in found if data.grade and data.solution]
    assert len(answers) == len(checks) == len(reasons) == len(announced) >= 3
    assert [data.points for data in checks] == [task.stars for task in announced]
    assert [data.points for data in reasons] == [task.stars for task in announced]
    calls = CHECK.findall("\n".join(cell.source for cell in student(whole).cells))
    assert [data.grade_id for data in checks] == [check for check, _ in calls]


def test_without_the_marked_regions_no_line_of_a_solution_is_left(whole: NotebookNode) -> None:
    cells = assignment(whole).cells
    left = [REGION.sub("", cell.source) for cell in cells]
    solutions = lines("\n".join(cell.source for cell in filter(is_solution, whole.cells)))
    rest = lines("\n".join(cell.source for cell in whole.cells if not is_solution(cell)))
    assert len(solutions - rest) > 5
    assert lines("\n".join(left)) & (solutions - rest) == set()
    assert "_solution" not in "".join(left)
    marked = [cell for cell in cells if BEGIN in cell.source]
    assert all(cell.metadata.nbgrader.solution for cell in marked) and len(marked) >= 3


def test_a_solution_gives_its_name_to_the_answer_that_is_checked(whole: NotebookNode) -> None:
    cells = own(assignment(whole))
    for answer, check in zip(cells[1::3], cells[2::3], strict=True):
        assert answer.source.count(BEGIN) == answer.source.count(END) == 1
        code = re.sub(r"^\s*%.*$", "", answer.source, flags=re.MULTILINE)
        nodes = ast.walk(ast.parse(code))
        given = {t.id for n in nodes if isinstance(n, ast.Assign) for t in n.targets
                 if isinstance(t, ast.Name)}  # fmt: skip
        assert {name for _, name in CHECK.findall(check.source)} <= given
        assert CHECK.search(answer.source) is None


def test_tasks_are_read_from_the_prose() -> None:
    text = (
        "### Not this\n\n## Exercises\n\n### One\n\n★★, 20 minutes. Do it.\n\n### Two\n\nDo it.\n\n"
        "### Three\n\n★★★, 45 minutes, an open challenge. Do it.\n"
    )
    assert tasks(text) == [
        Task("One", 2, 20, False), Task("Two", 1, None, False), Task("Three", 3, 45, True),
    ]  # fmt: skip
    assert tasks("Prose.\n\n### One\n\n★, 5 minutes.") == [Task("One", 1, 5, False)]


def test_under_nbgrader_a_missing_answer_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not Exercise("One").attempted(...)
    assert "not attempted yet" in capsys.readouterr().out
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    for missing in (None, ..., lambda *arguments: None):
        with pytest.raises(ExerciseError, match="not attempted yet"):
            fgsm.check_targeted_step(missing)
    assert Exercise("One").attempted(1)


def test_command_writes_a_course_and_keeps_its_configuration(tmp_path: Path) -> None:
    run = CliRunner().invoke
    outcome = run(cli.app, ["nbgrader", str(tmp_path), "--chapter", "fgsm", "--chapter", "arena"])
    assert outcome.exit_code == 0, outcome.output
    written = sorted(path.relative_to(tmp_path).parts for path in tmp_path.rglob("*.ipynb"))
    names = [page.name for page in CHAPTERS if page.topic in ("fgsm", "arena")]
    assert written == [("source", name, f"{name}.ipynb") for name in names]
    notebook = read(tmp_path / "source" / names[0] / f"{names[0]}.ipynb", 4)
    assert len(own(notebook)) >= 10 and 'profile = "smoke"' in own(notebook)[0].source
    config = tmp_path / "nbgrader_config.py"
    ast.parse(config.read_text(encoding="utf-8"))
    config.write_text("kept = True\n")
    assert run(cli.app, ["nbgrader", str(tmp_path), "--chapter", "fgsm"]).exit_code == 0
    assert config.read_text() == "kept = True\n"
    outcome = run(cli.app, ["nbgrader", str(tmp_path), "--chapter", "no_such"])
    assert outcome.exit_code != 0 and "chapter must be of" in outcome.output


def test_nbgrader_itself_accepts_them(whole: NotebookNode) -> None:
    validator = pytest.importorskip("nbgrader.nbgraderformat").MetadataValidator()
    validator.validate_nb(assignment(whole))
