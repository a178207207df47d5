"""All targets of an image, and the three cases, on numbers that can be checked by eye."""

import pytest
import torch

from armsrace import attacks, evaluation

INF = float("inf")


def test_all_targets_are_the_other_classes() -> None:
    images = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    repeated, labels, targets = evaluation.all_targets(images, torch.tensor([0, 3, 1]), 4)
    assert targets.tolist() == [1, 2, 3, 0, 1, 2, 0, 2, 3]
    assert labels.tolist() == [0, 0, 0, 3, 3, 3, 1, 1, 1]
    assert targets.dtype == labels.dtype == torch.int64
    assert torch.equal(repeated, images[[0, 0, 0, 1, 1, 1, 2, 2, 2]])


def test_two_classes_have_one_target_each() -> None:
    _, _, targets = evaluation.all_targets(torch.zeros(2, 1, 1, 1), torch.tensor([1, 0]), 2)
    assert targets.tolist() == [0, 1]


def test_cases_of_known_distances() -> None:
    sizes = torch.tensor([1.0, 3.0, 2.0, 5.0, INF, 4.0, INF, INF, INF, 6.0, 6.0, 6.0])
    found = evaluation.best_average_worst(sizes, 4)
    assert found.best.distance == pytest.approx((1 + 4 + 6) / 3)
    assert found.best.success == 3 / 4
    assert found.average.distance == pytest.approx((1 + 3 + 2 + 5 + 4 + 18) / 8)
    assert found.average.success == pytest.approx(8 / 12)
    assert found.worst == evaluation.Case(distance=(3 + 6) / 2, success=2 / 4)


def test_nothing_reached_is_infinitely_far() -> None:
    found = evaluation.best_average_worst(torch.full((6,), INF), 4)
    assert found.best == found.average == found.worst == evaluation.Case(INF, 0.0)


def test_the_average_case_is_the_expectation_over_random_targets() -> None:
    draws = torch.Generator().manual_seed(1)
    sizes = torch.rand(50, 9, generator=draws)
    every = evaluation.best_average_worst(sizes.flatten(), 10).average.distance
    drawn = torch.randint(9, (20_000, 50), generator=draws)
    once = sizes[torch.arange(50), drawn].mean(dim=1)
    assert once.mean().item() == pytest.approx(every, abs=3e-3)


def test_the_cases_are_ordered_on_a_network(s3_cnn, digits) -> None:
    images, labels = (tensor[:4] for tensor in digits)
    batch, own, targets = evaluation.all_targets(images, labels, 10)
    result = attacks.pgd(s3_cnn, batch, own, targets=targets, epsilon=0.2, steps=10)
    sizes = evaluation.perturbation_sizes(batch, result, "l2")
    cases = evaluation.best_average_worst(sizes, 10)
    assert cases.best.success >= cases.average.success >= cases.worst.success
    assert 0 < cases.average.success < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(0, 1, 2, 2), torch.zeros(0).long(), 4), "images must not be empty"),
        ((torch.zeros(1, 1, 2, 2), torch.tensor([4]), 4), "labels must be < 4, got 4"),
        ((torch.zeros(1, 1, 2, 2), torch.tensor([0]), 1), "classes must be >= 2, got 1"),
        ((torch.zeros(1, 1, 2, 2), torch.tensor([0, 1]), 4), r"labels must have shape \(1,\)"),
    ],
)
def test_bad_input_is_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.all_targets(*arguments)


@pytest.mark.parametrize("shape", [(0,), (5,), (2, 3)])
def test_distances_must_be_one_a_target(shape) -> None:
    with pytest.raises(ValueError, match="sizes must have shape"):
        evaluation.best_average_worst(torch.zeros(shape), 4)
