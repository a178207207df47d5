"""The command `armsrace`: the book, teaching, the data, the zoo, the ledger and the arena."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from armsrace.cli import arena, book
from armsrace.cli.errors import Device, OneLineGroup

if TYPE_CHECKING:
    from armsrace.models import zoo

app = typer.Typer(cls=OneLineGroup, no_args_is_help=True, add_completion=False, help=__doc__)
console = Console()
book.register(app)


@app.command()
def train(
    names: Annotated[list[str] | None, typer.Argument(help="Networks of the zoo.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that this device can train.")] = False,
    device: Device = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
    resume: Annotated[bool, typer.Option(help="Continue after the last finished epoch.")] = False,
) -> None:
    """Train networks and write their weights and cards."""
    from armsrace.recipes import RECIPES
    from armsrace.training.run import train as train_one

    possible = [name for name, recipe in RECIPES.items() if device != "cpu" or not recipe.gpu]
    chosen = possible if every else names or []
    unknown = [name for name in chosen if name not in RECIPES]
    if unknown or not chosen:
        raise typer.BadParameter(f"NAME must be of {', '.join(RECIPES)}; got {unknown or 'none'}")
    for name in chosen:
        columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as bars:
            show = partial(_show_loss, bars, bars.add_task(name, total=None), name)
            card = train_one(
                name, RECIPES[name], seed=seed, device=device, resume=resume, progress=show
            )
        console.print(f"{name}: {_quality(card)} on {card.test_images:,} test images")


def _quality(card: zoo.Card) -> str:
    """What a card reports of a network."""
    if card.test_frechet is not None:
        return f"Fréchet distance {card.test_frechet:.2f}"
    if card.test_accuracy is None:
        return f"mean squared error {card.test_error:.5f} per pixel"
    return f"{card.test_accuracy:.2%}"


def _show_loss(bars: Progress, bar: TaskID, name: str, done: int, total: int, loss: float) -> None:
    """Move a bar and show the loss."""
    bars.update(bar, completed=done, total=total, description=f"{name}, loss {loss:.3f}")


@app.command()
def data(
    download: Annotated[str, typer.Option(help="Fetch this data set: mnist or cifar10.")] = "",
) -> None:
    """List the data sets: where each file is, and whether it is verified."""
    from armsrace import datasets

    if download:
        datasets.download(download)
    table = Table("data set", "file", "where", "bytes", "state", "detail")
    for row in datasets.status():
        table.add_row(*(str(value) for value in vars(row).values()))
    console.print(table)


@app.command()
def build(
    chapter: Annotated[
        str | None, typer.Option(help="Execute this chapter only, by its topic, such as fgsm.")
    ] = None,
    profile: Annotated[str, typer.Option(help="reader, paper or smoke.")] = "reader",
    force: Annotated[
        bool, typer.Option(help="Also execute chapters that have not changed.")
    ] = False,
    solutions_from: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="For a class: no solutions before this day."),
    ] = None,
) -> None:
    """Execute the chapters that have changed, and build the site."""
    from armsrace.publishing.layout import FailedNotebooksError
    from armsrace.publishing.render import BookError
    from armsrace.publishing.site import build as build_site

    try:
        day = solutions_from.date() if solutions_from else None
        build_site(chapter, profile, force=force, console=console, solutions_from=day)
    except FailedNotebooksError as failure:
        console.print("built, but these failed and show no results:", style="red")
        for error in failure.errors.values():
            console.print(f"  {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from failure
    except BookError as error:  # With the pages' warnings, one in each line.
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8000,
    browser: Annotated[bool, typer.Option(help="Open it in a browser.")] = True,
    profile: Annotated[str, typer.Option(help="reader, paper or smoke.")] = "reader",
) -> None:
    """Serve the built site on this machine."""
    from armsrace.publishing.site import serve as serve_site

    serve_site(port, browser, profile=profile)


@app.command()
def playground(
    folder: Annotated[Path | None, typer.Argument(help="Into the next build by default.")] = None,
) -> None:
    """Export the playground's networks, digits and photographs."""
    from armsrace.publishing.layout import Layout
    from armsrace.publishing.playground import export

    manifest = export(folder or Layout().playground)
    for path in sorted(manifest.parent.iterdir()):
        console.print(f"{path}: {path.stat().st_size:,} bytes", highlight=False, soft_wrap=True)


@app.command()
def certify(
    images: Annotated[Path, typer.Argument(help="A .npy file: (N, 28, 28), bytes or [0, 1].")],
    certificates: Annotated[Path, typer.Argument(help="The .npz file to write.")],
    norm: Annotated[str, typer.Option(help="l2 or linf.")] = "l2",
    network: Annotated[str, typer.Option(help="Linear synthesis of the zoo.")] = "linear-synthesis",
) -> None:
    """Prove for each image how far it can be perturbed without a change of its class."""
    from armsrace.evaluation import arena, certify, with_interval
    from armsrace.models import zoo

    try:
        proved = certify(zoo.load(network), arena.submitted(images), norm=norm)  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError) as error:
        raise typer.BadParameter(str(error)) from error
    proved.save(certificates, zoo.weights(network))
    radii = proved.radii
    console.print(f"{certificates}: {len(radii)} images, median radius {radii.median():.3f} {norm}")
    if norm == "l2":
        share = float((radii >= 1.58).double().mean())
        console.print(f"1.58 or more: {with_interval(share, len(radii))}")


@app.command()
def verify(
    certificates: Annotated[Path, typer.Argument(help="A file that `certify` wrote.")],
    network: Annotated[str, typer.Option(help="Linear synthesis of the zoo.")] = "linear-synthesis",
) -> None:
    """Check certificates in exact integers, by a program that imports nothing of armsrace."""
    import subprocess
    import sys

    from armsrace.defenses.analysis_by_synthesis import check_certificate
    from armsrace.models import zoo

    program = [sys.executable, "-I", check_certificate.__file__, zoo.weights(network), certificates]
    done = subprocess.run([str(part) for part in program], capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        raise typer.BadParameter(done.stderr.strip().splitlines()[-1])
    console.print(done.stdout.strip(), highlight=False)
    raise typer.Exit(done.returncode)


ledger = typer.Typer(no_args_is_help=True, help="The papers' numbers, and ours.")
app.add_typer(ledger, name="ledger")
app.add_typer(arena.app, name="arena")


@ledger.command("check")
def ledger_check(
    profile: Annotated[str, typer.Option(help="reader or paper.")] = "reader",
) -> None:
    """Fail if a verdict is worse than expected, or a claim was not measured."""
    from armsrace.ledger import check

    problems = check(profile)
    for problem in problems:
        console.print(problem, style="red", soft_wrap=True)
    if problems:
        raise typer.Exit(1)
    console.print(f"every claim of the {profile} profile has the verdict it expects")
