"""The least budget of a list: exact on models whose answer is known."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from armsrace import attacks, evaluation
from armsrace.contracts import AttackResult


def brightness(images: Tensor) -> Tensor:
    """Class 1 where the mean pixel is above one half: FGSM needs exactly 0.5 - mean."""
    mean = images.flatten(1).mean(dim=1)
    return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def island(images: Tensor) -> Tensor:
    """Class 1 in a window of brightness alone: one step of FGSM can leap over it."""
    mean = images.flatten(1).mean(dim=1)
    return torch.stack([torch.zeros_like(mean), 0.15 - (mean - 0.45).abs()], dim=1)


def grays(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()


GRID = [0.05 * step for step in range(1, 7)]


@pytest.mark.parametrize("bisect", [False, True])
def test_first_budget_that_succeeds(bisect) -> None:
    images, labels = grays(0.42, 0.31, 0.22, 0.6, 0.1), torch.zeros(5).long()
    found = evaluation.smallest_epsilon(
        attacks.fgsm, brightness, images, labels, GRID, bisect=bisect
    )
    sizes = evaluation.perturbation_sizes(images, found, "linf")
    # 0.6 is misclassified from the start; 0.1 would need 0.4, which is not in the list.
    assert sizes.tolist() == pytest.approx([0.10, 0.20, 0.30, 0.0, math.inf])
    assert torch.equal(found.images[3:], images[3:])
    assert found.success.tolist() == [True, True, True, True, False]


def test_targets_reach_the_attack() -> None:
    images, labels = grays(0.42, 0.31), torch.ones(2).long()
    found = evaluation.smallest_epsilon(
        attacks.fgsm, brightness, images, labels, GRID, targets=torch.ones(2).long()
    )
    assert evaluation.perturbation_sizes(images, found, "linf").tolist() == pytest.approx(
        [0.1, 0.2]
    )


def test_trying_one_after_the_other_finds_what_bisection_leaps_over() -> None:
    images, labels = grays(0.2), torch.zeros(1).long()
    task = (attacks.fgsm, island, images, labels, [0.15, 0.3, 0.45, 0.6, 0.75, 0.8])
    sizes = [
        evaluation.perturbation_sizes(
            images, evaluation.smallest_epsilon(*task, bisect=bisect), "linf"
        ).item()
        for bisect in (False, True)
    ]
    assert sizes == pytest.approx([0.15, math.inf])


@pytest.mark.parametrize(("bisect", "runs"), [(False, [1, 3, 6]), (True, [3, 3, 2])])
def test_what_it_costs(bisect, runs) -> None:
    seen: list[int] = []

    def counted(batch: Tensor) -> Tensor:
        seen.append(len(batch))
        return brightness(batch)

    images, labels = grays(0.46, 0.36, 0.1), torch.zeros(3).long()
    found = evaluation.smallest_epsilon(attacks.fgsm, counted, images, labels, GRID, bisect=bisect)
    # A run of FGSM is two passes and a gradient; one pass at the beginning, one at the end.
    assert found.queries.tolist() == [2 * count + 2 for count in runs]
    assert found.gradients.tolist() == runs
    assert sum(seen) == int(found.queries.sum())


def test_batch_mates_do_not_matter(s3_cnn, digits) -> None:
    images, labels = (tensor[:6] for tensor in digits)
    attack = partial(attacks.bim, steps=5, step_size=0.05)
    task = (attack, s3_cnn)

    def search(*batch: Tensor) -> AttackResult:
        return evaluation.smallest_epsilon(*task, *batch, GRID, bisect=True)

    whole = search(images, labels)
    alone = torch.cat([search(images[k : k + 1], labels[k : k + 1]).images for k in range(6)])
    assert torch.allclose(whole.images, alone, atol=1e-5)
    sizes = evaluation.perturbation_sizes(images, whole, "linf")
    assert (sizes[whole.success] > 0).any()


@pytest.mark.parametrize(
    ("epsilons", "message"),
    [
        ([], "epsilons must not be empty"),
        ([-0.1, 0.2], "epsilons must be >= 0, got -0.1"),
        ([0.1, 0.3, 0.2], r"epsilons must ascend, got 0\.3 before 0\.2"),
        ([0.1, 0.1], "epsilons must ascend"),
        ([0.1, math.nan], "epsilons must ascend"),
    ],
)
def test_budgets_must_ascend(epsilons, message) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.smallest_epsilon(
            attacks.fgsm, brightness, grays(0.3), torch.zeros(1).long(), epsilons
        )
