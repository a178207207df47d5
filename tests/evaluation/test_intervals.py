from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from armsrace import evaluation


@pytest.mark.parametrize(("count", "n"), [(0, 12), (1, 12), (19, 20), (20, 20), (310, 400)])
def test_interval_is_that_of_scipy(count: int, n: int) -> None:
    expected = binomtest(count, n).proportion_ci(method="wilson")
    assert evaluation.wilson(count / n, n) == pytest.approx(tuple(expected), abs=1e-9)


def test_interval_of_a_mean_is_that_of_student_where_values_are_many() -> None:
    values = np.random.default_rng(1).gamma(4.0, size=400).tolist()
    expected = ttest_1samp(values, 0).confidence_interval()
    assert evaluation.mean_interval(values) == pytest.approx(tuple(expected), abs=0.02)
    assert evaluation.mean_interval(values) == evaluation.mean_interval(values)


def test_interval_of_a_mean_stays_among_the_values() -> None:
    low, high = evaluation.mean_interval([0.1, 0.1, 0.1, 5.0])
    assert 0.1 <= low < 1.3 < high <= 5.0
    assert evaluation.mean_interval([2.0, 2.0]) == (2.0, 2.0)
    with pytest.raises(ValueError, match="must be >= 2"):
        evaluation.mean_interval([0.5])


def test_in_words() -> None:
    assert evaluation.with_interval(0.5, 10_000) == "50% (49% to 51%, n = 10,000)"
    assert evaluation.with_interval(0, 20) == "0% (0% to 16%, n = 20)"


@pytest.mark.parametrize(
    ("share", "n", "message"),
    [(1.1, 20, "share must be <= 1"), (-0.1, 20, "share must be >= 0"), (0.5, 0, "n must be")],
)
def test_bad_input_names_the_rule(share: float, n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.wilson(share, n)


def test_the_interval_of_the_median_covers_it_and_needs_no_scale() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.exponential(size=(2_000, 25))
    ends = np.array([evaluation.median_interval(row) for row in drawn])
    inside = (ends[:, 0] <= np.log(2)) & (np.log(2) <= ends[:, 1])
    assert 0.95 <= inside.mean() <= 0.98
    # The table of Conover 1999 for n = 20: the 6th and the 15th value.
    assert evaluation.median_interval(list(range(1, 21))) == (6, 15)
    assert evaluation.median_interval([1.0] * 5 + [float("inf")] * 5) == (1.0, float("inf"))
    with pytest.raises(ValueError, match="the number of values must be >= 6, got 5"):
        evaluation.median_interval([1.0] * 5)
