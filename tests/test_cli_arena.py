"""The arena on the command line: measured once, shown, exported; mistakes named."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from armsrace import cli
from armsrace.evaluation import arena
from armsrace.evaluation.arena import store

run = CliRunner().invoke
SMALL = ["--digits", "4", "--defense", "rbf", "--attack", "fgsm"]


def test_run_show_export(tmp_path) -> None:
    place = ["--folder", str(tmp_path / "run")]
    first = run(cli.app, ["arena", "run", *SMALL, *place])
    assert first.exit_code == 0 and "2 jobs run, 0 already done" in first.output
    again = run(cli.app, ["arena", "run", *SMALL, *place])
    assert "0 jobs run, 2 already done" in again.output
    shown = run(cli.app, ["arena", "show", *SMALL, *place], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "rbf" in shown.output and "fgsm-l2" in shown.output
    path = tmp_path / "out.csv"
    assert run(cli.app, ["arena", "export", str(path), *SMALL, *place]).exit_code == 0
    assert len(pd.read_csv(path)) == 8


def test_an_export_without_a_path_keeps_the_shipped_rows(tmp_path, monkeypatch) -> None:
    shipped = tmp_path / "mnist.parquet"
    monkeypatch.setattr(store, "shipped_path", lambda: shipped)
    place = ["--folder", str(tmp_path / "run")]
    assert run(cli.app, ["arena", "run", *SMALL, *place]).exit_code == 0
    other = ["--digits", "4", "--defense", "s3-cnn", "--attack", "fgsm"]
    assert run(cli.app, ["arena", "run", *other, *place]).exit_code == 0
    first = run(cli.app, ["arena", "export", *SMALL, *place])
    assert first.exit_code == 0 and "8 of 8 outcomes" in first.output
    second = run(cli.app, ["arena", "export", *other, *place])
    assert second.exit_code == 0 and "8 of 16 outcomes" in second.output
    assert pd.read_parquet(shipped)["defense"].tolist() == ["s3-cnn"] * 8 + ["rbf"] * 8
    more = ["--digits", "4", "--defense", "rbf", "--attack", "fgsm", "--attack", "bim"]
    third = run(cli.app, ["arena", "export", *more, *place])
    assert "1 of 3 jobs are not finished and were left out" in third.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--defense", "hope"], 2, "defense must be one of"),
        (["run", "--attack", "prayer"], 2, "attack must be one of"),
        (["run", "--digits", "0"], 2, "count must be >= 1"),
        (["show", *SMALL], 1, "run `armsrace arena run`"),
    ],
)
def test_mistakes_are_named(tmp_path, arguments, code: int, message: str) -> None:
    where = ["--folder", str(tmp_path)]
    outcome = run(cli.app, ["arena", *arguments, *where], env={"COLUMNS": "400"})
    assert outcome.exit_code == code and message in outcome.output


def test_a_scheduler_that_cannot_be_had_is_named(tmp_path, monkeypatch) -> None:
    def refuse(*_, **__):
        raise ModuleNotFoundError("a scheduler needs the extra `scale`")

    monkeypatch.setattr(arena, "run", refuse)
    arguments = ["arena", "run", *SMALL, "--folder", str(tmp_path), "--scheduler", "tcp://nowhere"]
    outcome = run(cli.app, arguments)
    assert outcome.exit_code == 1 and "extra `scale`" in outcome.output
