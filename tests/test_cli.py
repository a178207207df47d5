"""The command line, where it is more than a call."""

import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from armsrace import cli, ledger
from armsrace.models import zoo
from armsrace.publishing import engine
from armsrace.publishing.engine import socket_folder
from armsrace.publishing.layout import ChapterError

run = CliRunner().invoke


def said(arguments: list[str], **variables: str) -> tuple[int, list[str]]:
    """The exit code of a command, and the lines on its standard error."""
    outcome = run(cli.app, arguments, env={"ARMSRACE_OFFLINE": "1", "COLUMNS": "80"} | variables)
    return outcome.exit_code, outcome.stderr.splitlines()


ONE_LINE = {
    "data --download cifar100": "name must be one of mnist, cifar10, got 'cifar100'",
    "data --download cifar10": "ARMSRACE_OFFLINE is set",
    "build --profile fast": "profile must be one of reader, paper, smoke, got 'fast'",
    "serve --profile fast": "profile must be one of",
    "ledger check --profile fast": "profile must be one of reader, paper, got 'fast'",
    "playground FILE": "File exists",
    "arena show --folder FILE": "run `armsrace arena run`",
    "arena run --digits 1 --defense rbf --attack fgsm --folder FILE": "Not a directory",
}


@pytest.mark.parametrize("command", ONE_LINE)
def test_a_mistake_takes_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = command.replace("FILE", str(tmp_path / "file")).split()
    code, lines = said(arguments, XDG_CACHE_HOME=str(tmp_path))
    assert code == 1 and len(lines) == 1 and ONE_LINE[command] in lines[0], lines


USAGE = {
    "train softmax --device nonsense": "torch cannot use 'nonsense' here",
    "arena run --digits 1 --device cuda:99": "torch cannot use 'cuda:99' here",
    "slides --profile fast": "profile must be one of",
    "serve --port 99999": "Invalid value for '--port'",
    "arena run --digits 0": "count must be >= 1",
    "build --chapter one": "valid integer",
    "grade": "Missing argument",
}


@pytest.mark.parametrize("command", USAGE)
def test_a_wrong_option_is_a_usage_error(command: str) -> None:
    outcome = run(cli.app, command.split(), env={"COLUMNS": "400"})
    assert outcome.exit_code == 2 and USAGE[command] in outcome.output
    assert "Traceback" not in outcome.output


def test_a_mistyped_data_folder_is_said_by_every_command_that_needs_data(tmp_path: Path) -> None:
    for command in (["data"], ["arena", "run", "--digits", "1"], ["ledger", "check"]):
        code, lines = said(command, ARMSRACE_DATA=str(tmp_path / "nowhere"))
        assert code == 1 and len(lines) == 1 and "ARMSRACE_DATA must name a folder" in lines[0]


def test_a_bug_still_shows_where_it_is(monkeypatch) -> None:
    def bug(profile: str) -> list[str]:
        raise AssertionError("a bug")

    monkeypatch.setattr(ledger, "check", bug)
    assert isinstance(run(cli.app, ["ledger", "check"]).exception, AssertionError)


def test_the_traceback_of_a_mistake_can_be_had() -> None:
    mistake = ["build", "--profile", "fast"]
    outcome = run(cli.app, mistake, env={"ARMSRACE_TRACEBACK": "1"})
    assert isinstance(outcome.exception, ValueError)


def test_a_long_folder_for_temporary_files_is_no_obstacle(tmp_path: Path, monkeypatch) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with socket_folder() as place:
        assert len(place) <= engine.FOLDER_BYTES
    monkeypatch.setattr(engine, "SHORT", str(long))
    with pytest.raises(ChapterError, match="set a shorter TMPDIR"):
        socket_folder()
    assert not list(long.iterdir())


def test_data_lists_the_embedded_digits() -> None:
    outcome = run(cli.app, ["data"], env={"COLUMNS": "300"})
    assert outcome.exit_code == 0
    assert "mnist" in outcome.stdout and "verified" in outcome.stdout


@pytest.mark.parametrize("arguments", [["train"], ["train", "s3-cmn"]])
def test_train_lists_what_it_knows(arguments: list[str]) -> None:
    outcome = run(cli.app, arguments)
    assert outcome.exit_code == 2
    assert "carlini-wagner" in outcome.output


@pytest.mark.parametrize(("device", "there"), [("cpu", False), ("meta", True)])
def test_train_all_leaves_out_what_a_cpu_cannot(monkeypatch, device: str, there: bool) -> None:
    trained: list[str] = []

    def train(name: str, *_: object, **__: object) -> zoo.Card:
        trained.append(name)
        return zoo.card("softmax")

    monkeypatch.setattr("armsrace.training.run.train", train)
    assert run(cli.app, ["train", "--all", "--device", device]).exit_code == 0
    assert "defense-gan" in trained and "softmax" in trained
    assert ("defense-gan-original" in trained) is there


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["a: left its band"], 1)])
def test_ledger_check_fails_with_its_problems(monkeypatch, problems, code) -> None:
    monkeypatch.setattr(ledger, "check", lambda profile: problems)
    outcome = run(cli.app, ["ledger", "check"])
    assert outcome.exit_code == code
    assert all(problem in outcome.stdout for problem in problems)
