"""The command `armsrace arena`: run, show, export, judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from armsrace.cli.errors import Device

if TYPE_CHECKING:
    import pandas as pd

    from armsrace.evaluation import arena

app = typer.Typer(no_args_is_help=True, help="Every defense against every attack.")
console = Console()

Digits = Annotated[int, typer.Option(help="How many test digits.")]
Defenses = Annotated[list[str] | None, typer.Option("--defense", help="All by default.")]
Attacks = Annotated[
    list[str] | None, typer.Option("--attack", help="All by default: pgd, or pgd-l2 alone.")
]
Seed = Annotated[int, typer.Option(help="Seed of random attacks.")]
Folder = Annotated[Path | None, typer.Option(help="Where outcomes are kept.")]


@app.command()
def run(
    digits: Digits = 100,
    defense: Defenses = None,
    attack: Attacks = None,
    seed: Seed = 0,
    folder: Folder = None,
    device: Device = "cpu",
    scheduler: Annotated[str | None, typer.Option(help="A Dask scheduler's address.")] = None,
) -> None:
    """Run the jobs that are not done yet; it may be stopped and resumed."""
    from armsrace.evaluation import arena

    jobs, place = _jobs(digits, defense, attack, seed), folder or arena.run_folder()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("starting", total=None)

        def show(done: int, total: int, job: arena.Job) -> None:
            title = f"{job.defense}, {job.attack}"
            bars.update(bar, completed=done, total=total, description=title)

        count = arena.run(jobs, place, device=device, scheduler=scheduler, progress=show)
    console.print(f"{count} jobs run, {len(jobs) - count} already done: {place}")


@app.command()
def show(
    digits: Digits = 100,
    defense: Defenses = None,
    attack: Attacks = None,
    seed: Seed = 0,
    folder: Folder = None,
    shipped: Annotated[
        bool, typer.Option(help="Show the outcomes that come with the source.")
    ] = False,
) -> None:
    """Print the standings, and the accuracy under each attack at its norm's budget."""
    from armsrace.evaluation.arena import read
    from armsrace.evaluation.arena.rankings import matrix, standings

    outcomes = read() if shipped else _outcomes(digits, defense, attack, seed, folder)
    _print("Accuracy under all attacks, median distance of the nearest", standings(outcomes))
    _print("Accuracy under one attack", matrix(outcomes).T)


@app.command()
def export(
    path: Annotated[Path | None, typer.Argument(help=".parquet or .csv")] = None,
    digits: Digits = 100,
    defense: Defenses = None,
    attack: Attacks = None,
    seed: Seed = 0,
    folder: Folder = None,
) -> None:
    """Write the outcomes of all finished jobs to a file; without one, into the shipped table.

    The shipped table keeps its other rows; a path that is given holds these outcomes alone.
    """
    from armsrace.evaluation import arena
    from armsrace.evaluation.arena import store

    jobs, place = _jobs(digits, defense, attack, seed), folder or arena.run_folder()
    outcomes, target = arena.collected(jobs, place), path or store.shipped_path()
    rows = outcomes
    if path is None and target.is_file():
        rows = store.merged(outcomes, arena.read(target))
    try:
        arena.export(rows, target)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console.print(f"{len(outcomes):,} of {len(rows):,} outcomes: {target}", soft_wrap=True)
    if left_out := len(store.pending(jobs, place)):
        console.print(f"{left_out} of {len(jobs)} jobs are not finished and were left out")


@app.command()
def judge(
    path: Annotated[Path, typer.Argument(help="A .npy file of images (N, 1, 28, 28) in [0, 1].")],
    defense: Annotated[str, typer.Option(help="The defense that they were made against.")],
    start: Annotated[int, typer.Option(help="The number of the first test digit.")] = 0,
    device: Device = "cpu",
) -> None:
    """Judge adversarial images of the test digits, in order, and compare with the arena's own."""
    from armsrace.evaluation import arena
    from armsrace.evaluation.intervals import with_interval

    try:
        judged = arena.judge(arena.submitted(path), defense, start=start, device=device)
        rows = arena.compared(judged, arena.read())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    table = Table("norm", "budget", "accuracy on these", "in the arena", "together", "nearer")
    for norm, row in rows.iterrows():
        shares = (with_interval(row[name], len(judged)) for name in ("these", "before", "together"))
        table.add_row(str(norm), f"{row['budget']:g}", *shares, f"{row['nearer']:.0f} digits")
    console.print(table)


def _jobs(
    digits: int, defenses: list[str] | None, attacks: list[str] | None, seed: int
) -> list[arena.Job]:
    """The chosen jobs; a usage error for an unknown name."""
    from armsrace.evaluation import arena

    try:
        return arena.arena_jobs(digits, defenses=defenses or (), attacks=attacks or (), seed=seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _outcomes(
    digits: int, defenses: list[str] | None, attacks: list[str] | None, seed: int,
    folder: Path | None,
) -> pd.DataFrame:  # fmt: skip
    """The finished jobs' outcomes."""
    from armsrace.evaluation import arena

    jobs = _jobs(digits, defenses, attacks, seed)
    return arena.collected(jobs, folder or arena.run_folder())


def _print(title: str, frame: pd.DataFrame) -> None:
    """Print a data frame."""
    table = Table("", *map(str, frame.columns), title=title)
    for name, row in frame.iterrows():
        table.add_row(str(name), *(_text(value) for value in row))
    console.print(table)


def _text(value: float) -> str:
    """A number as text; nothing for NaN."""
    return "" if value != value else "∞" if value == float("inf") else f"{value:.3g}"
