"""Rankings of outcomes that are small enough to be ranked by hand."""

import math

import pandas as pd
import pytest

from armsrace.evaluation.arena import rankings

INF = math.inf
ROWS = [
    # defense, attack, norm, image, clean, success, linf, l2, l0
    ("rbf", "pgd", "linf", 0, True, True, 0.3000001, 4.0, 500),
    ("rbf", "pgd", "linf", 1, True, False, 0.3, 4.0, 500),
    ("rbf", "pgd", "linf", 2, False, True, 0.0, 0.0, 0),
    ("rbf", "ddn", "l2", 0, True, True, 0.5, 1.0, 400),
    ("rbf", "ddn", "l2", 1, True, True, 0.2, 1.6, 400),
    ("rbf", "ddn", "l2", 2, False, True, 0.0, 0.0, 0),
    ("s3-cnn", "pgd", "linf", 0, True, False, 0.3, 4.0, 500),
    ("s3-cnn", "pgd", "linf", 1, True, False, 0.3, 4.0, 500),
    ("s3-cnn", "pgd", "linf", 2, True, True, 0.3, 1.2, 10),
]
NAMES = ["defense", "attack", "norm", "image", "clean", "success", "linf", "l2", "l0"]


@pytest.fixture
def outcomes() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=NAMES)


def test_matrix(outcomes) -> None:
    found = rankings.matrix(outcomes)
    assert list(found.index) == ["s3-cnn", "rbf"] and list(found.columns) == ["pgd-linf", "ddn-l2"]
    # At 0.3 pgd breaks digit 0 and the misclassified 2; ddn's 1.6 for digit 1 is over the budget.
    assert found.loc["rbf"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert found.loc["s3-cnn", "pgd-linf"] == pytest.approx(2 / 3)
    assert math.isnan(found.loc["s3-cnn", "ddn-l2"])


def test_nearest_counts_what_attacks_of_other_norms_found(outcomes) -> None:
    assert rankings.nearest(outcomes, "linf")["rbf"].tolist() == pytest.approx([0.3000001, 0.2, 0])
    assert rankings.nearest(outcomes, "l2")["s3-cnn"].tolist() == pytest.approx([INF, INF, 1.2])


def test_standings_are_over_the_union(outcomes) -> None:
    found = rankings.standings(outcomes)
    assert list(found.index) == ["s3-cnn", "rbf"]
    rbf, plain = found.loc["rbf"], found.loc["s3-cnn"]
    assert rbf[["clean", "linf", "l2", "l0", "union"]].tolist() == pytest.approx(
        [2 / 3, 0, 1 / 3, 2 / 3, 0]
    )
    assert plain[["clean", "linf", "l2", "l0", "union"]].tolist() == pytest.approx(
        [1, 2 / 3, 2 / 3, 2 / 3, 2 / 3]
    )
    assert rbf["median linf"] == pytest.approx(0.2) and plain["median l2"] == INF
    assert (rbf["cells"], plain["cells"], rbf["n"]) == (2, 1, 3)


def test_curve_falls_from_the_clean_accuracy(outcomes) -> None:
    found = rankings.curve(outcomes, "rbf", "linf", [0, 0.1, 0.2, 0.3])
    assert found.tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0])
    with pytest.raises(ValueError, match="must hold the defense 'madry'"):
        rankings.curve(outcomes, "madry", "linf", [0])


def test_breakers_share_the_broken_digits(outcomes) -> None:
    found = rankings.breakers(outcomes, "linf")
    # Digit 0 is pgd's (ddn needs 0.5), digit 1 is ddn's; the misclassified one is nobody's.
    assert found.loc["rbf"].to_dict() == pytest.approx({"pgd-linf": 0.5, "ddn-l2": 0.5})
    assert found.loc["s3-cnn"].to_dict() == {"pgd-linf": 1, "ddn-l2": 0}
    assert rankings.breakers(outcomes[:6], "l0").loc["rbf"].sum() == 0


def test_ties_are_shared(outcomes) -> None:
    outcomes.loc[3, "linf"] = outcomes.loc[0, "linf"]
    found = rankings.breakers(outcomes, "linf").loc["rbf"]
    assert found.to_dict() == pytest.approx({"pgd-linf": 0.25, "ddn-l2": 0.75})


def test_another_norm_is_refused(outcomes) -> None:
    with pytest.raises(ValueError, match="norm must be one of linf, l2, l0"):
        rankings.sizes(outcomes, "l1")


def test_only_whole_cells_are_compared(outcomes) -> None:
    whole = rankings.complete(outcomes.drop(index=5))
    assert set(whole["attack"]) == {"pgd"} and len(whole) == 6
    assert len(rankings.complete(outcomes)) == len(outcomes)
