"""The command line, where it is more than a call."""

import pytest
from typer.testing import CliRunner

from armsrace import cli, ledger
from armsrace.models import zoo

run = CliRunner().invoke


def test_data_lists_the_embedded_digits() -> None:
    outcome = run(cli.app, ["data"], env={"COLUMNS": "300"})
    assert outcome.exit_code == 0
    assert "mnist" in outcome.stdout and "verified" in outcome.stdout


@pytest.mark.parametrize("arguments", [["train"], ["train", "s3-cmn"]])
def test_train_lists_what_it_knows(arguments: list[str]) -> None:
    outcome = run(cli.app, arguments)
    assert outcome.exit_code == 2
    assert "carlini-wagner" in outcome.output


@pytest.mark.parametrize(("device", "there"), [("cpu", False), ("cuda", True)])
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
