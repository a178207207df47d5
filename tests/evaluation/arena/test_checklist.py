"""The checklist's answers follow from outcomes that are small enough to answer by hand."""

import pandas as pd
import pytest

from armsrace.evaluation import arena
from armsrace.evaluation.arena import checklist

NAMES = ["defense", "attack", "norm", "image", "success", "linf", "l2", "l0"]


def outcomes(**successes: list[bool]) -> pd.DataFrame:
    """Of s3-cnn, each attack (underscores for hyphens) in L∞ with its successes by digit."""
    rows = [
        ("s3-cnn", attack.replace("_", "-"), "linf", image, success, 0.3, 5.0, 500)
        for attack, found in successes.items()
        for image, success in enumerate(found)
    ]
    return pd.DataFrame(rows, columns=NAMES)


def answers(table: pd.DataFrame, **indicators: float) -> dict[str, object]:
    found = {"s3-cnn": indicators} if indicators else {}
    return checklist.checklist(table, found).loc["s3-cnn"].to_dict()


def test_what_was_tried() -> None:
    found = answers(outcomes(pgd=[True], square=[True], uniform_noise=[False]))
    assert found["scores"] and not found["decisions"] and not found["transfer"]
    assert not found["norms"]
    table = outcomes(boundary=[True], transfer=[True])
    second = table.assign(norm="l2")
    found = answers(pd.concat([table, second]))
    assert found["decisions"] and found["transfer"] and found["norms"] and not found["scores"]


@pytest.mark.parametrize(
    ("pgd", "fgsm", "answer"),
    [([True, False], [True, False], True), ([True, False], [True, True], False)],
)
def test_iterating_is_compared_with_one_step(pgd, fgsm, answer) -> None:
    assert answers(outcomes(pgd=pgd, fgsm=fgsm))["one step"] is answer
    assert answers(outcomes(pgd=pgd))["one step"] is None


def test_an_attack_without_gradients_that_is_stronger_is_seen() -> None:
    weak = outcomes(pgd=[False, False], square=[True, False])
    assert answers(weak)["no gradient"] is False
    assert answers(outcomes(pgd=[True, False], square=[True, False]))["no gradient"] is True


def test_a_success_beyond_the_budget_does_not_count() -> None:
    table = outcomes(pgd=[False], boundary=[True]).assign(linf=0.5)
    assert answers(table)["no gradient"] is True


def test_indicators_answer_two_questions() -> None:
    table = outcomes(pgd=[True])
    assert answers(table)["unbounded"] is None and answers(table)["converged"] is None
    good = answers(table, unconstrained_failure=0.0, incomplete_optimization=0.05)
    assert good["unbounded"] is True and good["converged"] is True
    bad = answers(table, unconstrained_failure=0.02, incomplete_optimization=0.07)
    assert bad["unbounded"] is False and bad["converged"] is False


def test_every_defense_of_the_arena_has_a_row_with_each_question() -> None:
    table = checklist.checklist(arena.read(), {})
    assert list(table.columns) == list(checklist.QUESTIONS)
    assert set(table.index) == set(arena.read()["defense"])
    assert table["scores"].any() and table["decisions"].any()
