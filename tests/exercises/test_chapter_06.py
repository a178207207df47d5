"""The checks of chapter 6 take right answers and name what is wrong with the usual wrong ones."""

import pytest
import torch

from armsrace.exercises import ExerciseError
from armsrace.exercises.chapter_06 import check_hyperplane, check_mean_or_median, check_project

INFINITE = torch.tensor(torch.inf)

RIGHT = [
    (check_hyperplane, lambda gap, n: gap / n.abs().sum() * n.sign()),
    (check_mean_or_median, lambda d, s: d.where(s, INFINITE).median()),
    (check_mean_or_median, lambda d, s: d.masked_fill(~s, torch.inf).sort().values[2]),
    (check_project, lambda v, e: v * min(1.0, e / max(float(v.norm()), 1e-12))),
    (check_project, lambda v, e: v / max(float(v.norm()) / e, 1.0)),
]
WRONG = [
    (check_hyperplane, lambda gap, n: gap / n.norm() ** 2 * n, "is enough"),
    (check_hyperplane, lambda gap, n: gap / n.norm() * n, "must be the gap"),
    (check_hyperplane, lambda gap, n: gap, "shape"),
    (check_mean_or_median, lambda d, s: d.median(), "not 0"),
    (check_mean_or_median, lambda d, s: d[s].median(), "missing from the count"),
    (check_mean_or_median, lambda d, s: d.mean(), "distance 0"),
    (check_mean_or_median, lambda d, s: d.max(), "is infinite"),
    (check_project, lambda v, e: e * v / v.norm(), "lengthen"),
    (check_project, lambda v, e: v.clamp(-e, e), "length came out"),
    (check_project, lambda v, e: v if v.norm() <= e else e * v.sign() / 6, "scale"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_are_confirmed(check, answer, capsys) -> None:
    check(answer)
    assert "right" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(check, answer, hint) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(answer)


@pytest.mark.parametrize("check", [check_hyperplane, check_mean_or_median, check_project])
def test_nothing_attempted(check, capsys) -> None:
    check(...)
    check(lambda *arguments: None)
    assert "not attempted" in capsys.readouterr().out
