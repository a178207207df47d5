"""Grade students' notebooks by the checks of this installation, and plan lessons by the timetable.

Both read chapters as students get them: exercises with empty cells and their checks.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from armsrace.exercises import ExerciseError
from armsrace.publishing.engine import CELL_SECONDS
from armsrace.publishing.execution import INJECTED, Record, kernel_environment
from armsrace.publishing.launch_notebooks import student
from armsrace.publishing.layout import Layout, Notebook, notebooks
from armsrace.publishing.remote import ConnectionBroken, End, Frame, unpack
from armsrace.publishing.slides import is_slide
from armsrace.resources import CLONE

CHAPTER = re.compile(r"^from armsrace\.exercises import (\w+) as exercises$", re.MULTILINE)
CHECK = re.compile(r"^exercises\.(check_\w+)\((\w+)\)$", re.MULTILINE)
SAID = re.compile(r"Exercise “(.+?)”:? ?(.*)", re.DOTALL)
TASK = re.compile(
    r"^### +(?P<title>.+)\n+(?:(?P<stars>★+)(?:, (?P<minutes>\d+) minutes)?"
    r"(?P<challenge>, an open challenge)?)?",
    re.MULTILINE,
)
TITLE = re.compile(r"^# +(.+)$", re.MULTILINE)
PROFILE = "smoke"
CHECK_SECONDS = 60.0
"""For one exercise, checks included."""
NOTEBOOK_SECONDS = 900.0
"""For all of a notebook, starts included."""
LONGEST_VERDICT = 600


@dataclass(frozen=True)
class Grade:
    """The result of one exercise's check; the verdict begins with `right` if the answer is."""

    exercise: str
    verdict: str


@dataclass(frozen=True)
class Task:
    """An exercise as its chapter announces it; one that states no stars has one, and no minutes."""

    title: str
    stars: int
    minutes: int | None
    challenge: bool


def tasks(text: str) -> list[Task]:
    """The exercises that a chapter's prose announces, in its order."""
    exercises = text.partition("## Exercises")[2] or text
    return [
        Task(
            found["title"].strip(), len(found["stars"] or "★"),
            int(found["minutes"]) if found["minutes"] else None, bool(found["challenge"]),
        )
        for found in TASK.finditer(exercises)
    ]  # fmt: skip


@dataclass
class Cell:
    """A code cell to run, whether the submission brought it, and how it failed, if it did."""

    source: str
    own: bool
    failure: str = ""
    fatal: bool = False
    """Whether it ended its process, so that it must not run again."""


def grade(submission: Path, chapters: Sequence[Notebook]) -> list[Grade]:
    """Run a submitted notebook, and judge its answers by the checks of this installation.

    The chapter's own cells run first, then those that the submission changed or added, in its
    order, all in one namespace of another process. The checks run in this process and call the
    answers over a line on which only values travel (`remote`): what a notebook prints, redefines or
    exits has no say. It runs with the rights of this user all the same, who should not be one with
    anything to lose.

    Args:
        submission: the file.
        chapters: the notebooks of the course.

    Returns:
        One grade per exercise of the chapter, in its order.

    Raises:
        ValueError: the file is not a notebook of one of these chapters.
        OSError: it cannot be read.
    """
    submitted, topic = _read(submission)
    line = f"from armsrace.exercises import {topic} as exercises"
    pages = [page for page in chapters if line in page.path.read_text().splitlines()]
    if not pages:
        raise ValueError(f"{submission} is of {topic}, a chapter that this course does not have")
    chapter = jupytext.read(pages[0].path)
    # Imported before any answer runs, which might write to the files of this installation.
    checks = importlib.import_module(f"armsrace.exercises.{topic}")
    found = [match for cell in _code(student(chapter)) for match in CHECK.findall(cell.source)]
    with Process(assemble(submitted, chapter)) as process:
        return [_judge(process, checks, check, name) for check, name in found]


def topic_of_submission(submission: Path) -> str:
    """The chapter of a submitted notebook, by its topic; ValueError and OSError as in `grade`."""
    return _read(submission)[1]


def _read(submission: Path) -> tuple[NotebookNode, str]:
    """A submitted notebook, and the name of the module with its chapter's exercises."""
    try:
        submitted = nbformat.read(submission, 4)
        return submitted, _topic(submitted)
    except OSError:
        raise
    except Exception as error:  # JSON that is no notebook raises whatever nbformat stumbles on.
        reason = _clean(str(error) or repr(error))
        raise ValueError(f"{submission} must be a notebook of a chapter: {reason}") from error


def assemble(submission: NotebookNode, chapter: NotebookNode) -> list[Cell]:
    """The cells to run: the chapter's without solutions, then what the submission has besides.

    Checks are left out, since they are run elsewhere. The chapter's empty answers stand in for
    those that the submission lacks.
    """
    cells: list[Cell] = []
    for cell in _code(student(chapter)):
        cells.append(Cell(CHECK.sub("", cell.source), own=False))
        if "parameters" in cell.metadata.get("tags", ()):
            cells.append(Cell(f'profile = "{PROFILE}"', own=False))
    known = {cell.source.strip() for cell in _code(chapter)}
    for cell in _code(submission):
        given = {"parameters", INJECTED}.intersection(cell.metadata.get("tags", ()))
        if not given and cell.source.strip() not in known:
            cells.append(Cell(CHECK.sub("", cell.source), own=True))
    return cells


class Process:
    """The process that runs a notebook's cells; one that ended is started again when needed."""

    def __init__(self, cells: list[Cell]) -> None:
        self.cells = cells
        self.broken = ""
        """What the process did, if it did not reply."""
        self._ends = time.monotonic() + NOTEBOOK_SECONDS
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Process:
        self._folder = TemporaryDirectory(prefix="ar-", ignore_cleanup_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._folder.cleanup()

    def value(self, name: str) -> Any:
        """The notebook's value of this name, with all cells run; ConnectionBroken without one."""
        self._start()
        reply, tensors = self._ask({"do": "value", "name": name}, CHECK_SECONDS)
        self._allow(CHECK_SECONDS)
        return self.end.decode(reply["value"], tensors)

    def _start(self) -> None:
        """Start the process and run the cells, if it does not run."""
        while self._child is None:
            self._spawn()
            for cell in self.cells:
                if cell.fatal:
                    continue
                try:
                    reply, _ = self._ask(
                        {"do": "run", "source": cell.source}, CELL_SECONDS[PROFILE] or 0
                    )
                    cell.failure = str(reply["value"] or "")
                except ConnectionBroken:
                    if not cell.own:
                        raise
                    cell.fatal, cell.failure = True, f"it {self.broken}"
                    break

    def _spawn(self) -> None:
        """Start the process."""
        if time.monotonic() > self._ends:
            self.broken = f"did not end within {NOTEBOOK_SECONDS:g} s"
            raise ConnectionBroken(self.broken)
        environment = kernel_environment(os.cpu_count() or 1)
        environment |= {"MPLBACKEND": "Agg", "IPYTHONDIR": self._folder.name}
        environment.pop("PYTHONSTARTUP", None)
        self.broken = ""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "armsrace.publishing.answers"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self._folder.name,
            env=environment, start_new_session=True,
        )  # fmt: skip
        # Threads, so that neither a full pipe nor half a message can hold up the judge.
        self._sent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._heard: queue.Queue[Frame | ConnectionBroken] = queue.Queue(8)
        for work, pipe, line in (
            (_send, self._child.stdin, self._sent), (_hear, self._child.stdout, self._heard),
        ):  # fmt: skip
            threading.Thread(target=work, args=(pipe, line), daemon=True).start()
        self.end = End(self._sent.put, self._receive, self._give_up)

    def _ask(self, message: dict[str, Any], seconds: float) -> Frame:
        """The reply within some seconds."""
        self._allow(seconds)
        return self.end.ask(message)

    def _allow(self, seconds: float) -> None:
        """Give the process so much time from now, within what its notebook has."""
        self._seconds, self._until = seconds, min(time.monotonic() + seconds, self._ends)

    def _receive(self) -> Frame:
        """The next message; ConnectionBroken says why there is none."""
        if self._child is None:
            raise ConnectionBroken(self.broken)
        try:
            found = self._heard.get(timeout=max(0.0, self._until - time.monotonic()))
        except queue.Empty:
            whole = self._until >= self._ends
            limit = NOTEBOOK_SECONDS if whole else self._seconds
            what = "did not end in time, the whole notebook" if whole else "did not end"
            found = ConnectionBroken(f"{what} within {limit:g} s")
        if isinstance(found, ConnectionBroken):
            self._give_up(str(found))
            raise found
        return found

    def _give_up(self, reason: str) -> None:
        """End the process, and remember why."""
        self.broken = reason
        self._kill()

    def _kill(self) -> None:
        """End the process and those that it started."""
        if self._child is None:
            return
        self._sent.put(None)
        with contextlib.suppress(OSError):
            if os.name == "nt":
                self._child.kill()
            else:
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._child = None


def _send(pipe: Any, line: queue.SimpleQueue[bytes | None]) -> None:
    """Write what is to be sent, until None."""
    with contextlib.suppress(OSError), pipe:
        while (content := line.get()) is not None:
            pipe.write(content)
            pipe.flush()


def _hear(pipe: Any, line: queue.Queue[Frame | ConnectionBroken]) -> None:
    """Read messages until one is none."""
    with pipe:
        while True:
            try:
                line.put(unpack(pipe.read))
            except ConnectionBroken as error:
                line.put(error)
                return


def _judge(process: Process, checks: ModuleType, check: str, name: str) -> Grade:
    """The grade of one exercise: the check `check`, on the notebook's value of this name."""
    title, _ = _checked(checks, check, None)
    try:
        answer = process.value(name)
        _, verdict = _checked(checks, check, answer)
        if verdict.startswith("right") and process.end.changed:
            # The check may have judged by tensors that the answer has changed in place, or forbid
            # to change them. So the answer must be right on the judge's copies and on its own.
            process.end.copies_back = True
            _, verdict = _checked(checks, check, answer)
        process.end.changed = process.end.copies_back = False
    except ConnectionBroken:
        verdict = f"wrong: the notebook {process.broken}"
    else:
        if process.broken:
            verdict = f"wrong: your answer {process.broken}"
    failed = [cell for cell in process.cells if cell.own and _defines(cell.source, name)]
    if verdict.startswith("not attempted") and failed and failed[-1].failure:
        verdict = f"wrong: the cell that defines {name} failed: {failed[-1].failure}"
    return Grade(title, _clean(verdict))


def _checked(checks: ModuleType, check: str, answer: object) -> tuple[str, str]:
    """The exercise's title, and the verdict of its check on an answer."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            getattr(checks, check)(answer)
        prefix, text = "", said.getvalue()
    except ExerciseError as error:
        prefix, text = "wrong: ", str(error)
    except Exception as error:  # What a check does not foresee of an answer.
        prefix, text = "wrong: ", repr(error)
    found = SAID.match(text)
    return found.group(1) if found else check, prefix + (found.group(2) if found else text).strip()


def _clean(text: str) -> str:
    """Text of a stranger on one line, without what steers a terminal."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_VERDICT else f"{line[:LONGEST_VERDICT]} …"


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _topic(notebook: NotebookNode) -> str:
    """The name of the module with the chapter's exercises."""
    for cell in notebook.cells:
        if found := CHAPTER.search(cell.source):
            return found.group(1)
    raise ValueError("it imports no chapter's exercises")


def _defines(source: str, name: str) -> bool:
    """Whether code defines a function of this name, or seems to if it does not parse."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return f"def {name}(" in source
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in body)


def timetable(profile: str = "reader", root: Path = CLONE) -> list[dict[str, object]]:
    """One row per chapter: number, title, seconds of its last execution, exercises, slides.

    Args:
        profile: whose executions. The row says so if a chapter was not executed under it.
        root: the clone.

    Returns:
        The rows, in the book's order. Slides are counted without the title's.
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
