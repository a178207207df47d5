"""The checks take right answers and name what is wrong with the usual wrong ones."""

import pytest
import torch

from armsrace import attacks
from armsrace.exercises import ExerciseError
from armsrace.exercises.shortest_distance import (
    check_hyperplane,
    check_median_distance,
    check_nearer_linf,
    check_sphere_step,
)

INFINITE = torch.tensor(torch.inf)


def step(delta, slope, radius, adversarial, length, gamma):
    """The right answer to 6.3, but the radius as a tensor."""
    radius = torch.tensor(radius * (1 - gamma if adversarial else 1 + gamma))
    moved = delta + length * slope / slope.norm()
    return radius * moved / moved.norm(), radius


def inside(delta, slope, radius, adversarial, length, gamma):
    """Projects onto the ball where the sphere is wanted."""
    moved, radius = step(delta, slope, radius, adversarial, length, gamma)
    return 0.9 * moved, radius


CHECKS = [check_hyperplane, check_median_distance, check_sphere_step, check_nearer_linf]
RIGHT = [
    (check_hyperplane, lambda gap, n: gap / n.abs().sum() * n.sign()),
    (check_median_distance, lambda d, s: d.where(s, INFINITE).median()),
    (check_median_distance, lambda d, s: d.masked_fill(~s, torch.inf).sort().values[2]),
    (check_sphere_step, lambda *given: step(*given)),
    (check_sphere_step, lambda *given: tuple(map(torch.clone, step(*given)))),
    (check_nearer_linf, lambda m, x, y: attacks.fmn(m, x, y, norm="linf", steps=50).images),
]
WRONG = [
    (check_hyperplane, lambda gap, n: gap / n.norm() ** 2 * n, "is enough"),
    (check_hyperplane, lambda gap, n: gap / n.norm() * n, "must be the gap"),
    (check_hyperplane, lambda gap, n: gap, "shape"),
    (check_median_distance, lambda d, s: d.median(), "not 0"),
    (check_median_distance, lambda d, s: d[s].median(), "missing from the count"),
    (check_median_distance, lambda d, s: d.mean(), "distance 0"),
    (check_median_distance, lambda d, s: d.max(), "is infinite"),
    (check_median_distance, lambda d, s: d.where(s & (d > 0), INFINITE).median(), "only `success`"),
    (
        check_sphere_step,
        lambda d, g, r, a, *more: step(d, g, r, not a, *more),
        "only after a success",
    ),
    (check_sphere_step, lambda d, g, r, a, *more: step(d, g, r, True, *more), "not adversarial"),
    (check_sphere_step, lambda *given: (given[0], step(*given)[1]), "new sphere"),
    (check_sphere_step, lambda d, g, r, a, n, m: inside(d, g, r, a, n, m), "new sphere"),
    (check_sphere_step, lambda d, g, r, a, n, m: step(d, g, r, a, n * g.norm(), m), "direction"),
    (check_sphere_step, lambda d, g, r, a, n, m: step(d, -g, r, a, n, m), "direction"),
    (check_sphere_step, lambda *given: step(*given)[0], "and the new radius"),
    (check_nearer_linf, lambda m, x, y: attacks.deepfool(m, x, y, norm="linf").images, "your mean"),
    (check_nearer_linf, lambda m, x, y: attacks.ddn(m, x, y, steps=50).images, "your mean"),
    (
        check_nearer_linf,
        lambda m, x, y: attacks.fmn(m, x, y, norm="linf", steps=100).images,
        "the budget is 1500",
    ),
    (check_nearer_linf, lambda m, x, y: x, "still classified correctly"),
    (check_nearer_linf, lambda m, x, y: x - 0.1, "outside"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_right_answers_are_confirmed(check, answer, capsys) -> None:
    check(answer)
    assert "right" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_wrong_answers_get_a_hint(check, answer, hint) -> None:
    with pytest.raises(ExerciseError, match=hint):
        check(answer)


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_attempted(check, capsys) -> None:
    check(...)
    check(lambda *arguments: None)
    assert "not attempted" in capsys.readouterr().out
