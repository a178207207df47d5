"""Commands of `armsrace` for those who teach."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

COLORS = {"ok": "green", "warning": "yellow", "missing": "red"}


def register(app: typer.Typer) -> None:
    """Add the commands to those of `armsrace`."""
    for command in (board, doctor, grade, nbgrader, slides):
        app.command()(command)


def board(
    submissions: Annotated[Path, typer.Argument(help="A folder of students' notebooks.")],
    folder: Annotated[Path, typer.Argument(help="Of the board; its index.html may be public.")],
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 20,
    once: Annotated[bool, typer.Option(help="Look once, and end.")] = False,
) -> None:
    """Grade what students hand in as it comes, and show on a page who has solved what.

    This runs their code.
    """
    from armsrace.publishing.board import PAGE, update, watch
    from armsrace.publishing.layout import notebooks

    if not submissions.is_dir():
        raise typer.BadParameter(f"submissions must be a folder, got {submissions}")
    chapters = [page for page in notebooks() if page.is_chapter]
    typer.echo(folder / PAGE)
    if once:
        for key in update(submissions, folder, chapters):
            typer.echo(f"graded {key}")
    else:
        watch(submissions, folder, chapters, every=every, report=typer.echo)


def doctor() -> None:
    """Check whether this computer is ready for the course; fail only if a chapter could not run."""
    from armsrace import datasets
    from armsrace.publishing import doctor as check

    folder = check.data_folder()
    if folder.state == "missing":  # What is below it cannot be looked for.
        os.environ.pop("ARMSRACE_DATA")
    files = datasets.status()
    checks = (
        check.python, check.memory, check.disk, check.threads, lambda: folder,
        partial(check.data, "mnist", files), partial(check.data, "cifar10", files),
        partial(check.embedded, "mnist", files), partial(check.embedded, "cifar10", files),
        check.weights, check.notebooks, check.kernel, check.browser, check.network,
        check.speed,
    )  # fmt: skip
    console, failed = Console(), False
    for run in checks:
        found = run()
        failed = failed or found.state == "missing"
        console.print(f"{found.state:8}", style=COLORS[found.state], end="")
        line = f"{found.check:17}{found.detail}" + (f". Do: {found.remedy}" if found.remedy else "")
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def slides(
    profile: Annotated[str, typer.Option(help="reader, paper or smoke.")] = "reader",
) -> None:
    """Make slides of the executed chapters, from their cells tagged `slide`."""
    from armsrace.publishing.layout import Layout, notebooks
    from armsrace.publishing.slides import write_all

    try:
        layout = Layout(profile)
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    decks = write_all(notebooks(), layout)
    for path in decks:
        typer.echo(path)
    if not decks:
        typer.echo(f"no slides: run `armsrace build --profile {profile}` first", err=True)
        raise typer.Exit(1)


def nbgrader(
    folder: Annotated[Path, typer.Argument(help="Of the course, made where it is missing.")],
    chapter: Annotated[
        list[str] | None, typer.Option(help="A topic, such as fgsm; by default all chapters.")
    ] = None,
) -> None:
    """Write the chapters as assignments of nbgrader, with solutions: keep them from students."""
    from armsrace.publishing.layout import Layout, notebooks
    from armsrace.publishing.nbgrader import write_course

    pages = [page for page in notebooks() if page.is_chapter]
    known = [page.topic for page in pages]
    if unknown := sorted(set(chapter or ()) - set(known)):
        raise typer.BadParameter(f"chapter must be of {', '.join(known)}; got {unknown}")
    chosen = [page for page in pages if not chapter or page.topic in chapter]
    for path in write_course(folder, chosen, Layout()):
        typer.echo(path)


def grade(
    files: Annotated[list[Path], typer.Argument(help="Students' notebooks.")],
) -> None:
    """Grade students' notebooks by the checks of the exercises. This runs their code."""
    from armsrace.publishing.grading import grade as grade_one
    from armsrace.publishing.layout import notebooks

    chapters, failed = notebooks(), False
    for file in files:
        try:
            grades = grade_one(file, chapters)
        except (OSError, ValueError) as error:
            typer.echo(f"{file}: not graded: {error}", err=True)
            failed = True
            continue
        right = sum(one.verdict.startswith("right") for one in grades)
        typer.echo(f"{file}: {right} of {len(grades)} right")
        for one in grades:
            typer.echo(f"  {one.exercise}  {one.verdict}")
    if failed:
        raise typer.Exit(1)
