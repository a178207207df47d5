"""The distance to the nearest half-space's end is exact, and no attack comes nearer."""

from __future__ import annotations

import re

import pytest
import torch
from scipy.optimize import LinearConstraint, linprog, minimize
from torch import Tensor

from armsrace import attacks
from armsrace.contracts import UNIT
from armsrace.defenses import AnalysisBySynthesis
from armsrace.defenses.analysis_by_synthesis.bounds import (
    shortest_delta,
    shortest_delta_in_all,
)
from armsrace.evaluation import halfspace_bounds, linf_bounds, perturbation_sizes, synthesis_bounds
from tests.defenses.linear_classes import CLASSES, LinearClasses, noisy_draws

COUNT = 12


@pytest.fixture(scope="module")
def model() -> AnalysisBySynthesis:
    return AnalysisBySynthesis(LinearClasses(), inference="exact", samples=50)


@pytest.fixture(scope="module")
def digits(model) -> tuple[Tensor, Tensor]:
    return noisy_draws(model, COUNT)


def one_way(norm: str, bounds) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    ways = torch.randn(1, 1, 6, generator=generator).double()
    pixels = torch.rand(1, 1, 6, generator=generator).double().mul(1.6).sub(0.3).clamp(0, 1)
    # Two pixels lie on the box, and what is needed drives others against it.
    assert (pixels == 0).any() and (pixels == 1).any()
    needed = torch.tensor([[0.8]]).double()
    return ways, pixels, needed, *shortest_delta(ways, needed, pixels, norm, bounds)


def test_without_a_box_the_shortest_move_is_needed_over_the_dual_norm() -> None:
    for norm, dual in (("l2", 2), ("linf", 1)):
        ways, _, needed, size, moves = one_way(norm, None)
        expected = needed / ways.norm(p=dual, dim=2)
        torch.testing.assert_close(size, expected)
        torch.testing.assert_close((ways * moves).sum(dim=2), needed)


def test_in_the_box_it_is_that_of_a_solver() -> None:
    ways, pixels, needed, size, moves = one_way("l2", UNIT)
    row, at = ways[0, 0].numpy(), pixels[0, 0].numpy()
    box = list(zip(-at, 1 - at, strict=True))
    enough = {"type": "ineq", "fun": lambda move: move @ row - needed.item()}
    solved = minimize(lambda move: move @ move, 0 * at, bounds=box, constraints=enough, tol=1e-12)
    assert size.item() == pytest.approx(solved.fun**0.5, rel=1e-4)
    assert torch.equal(UNIT.clip(pixels + moves), pixels + moves)

    _, _, _, size, moves = one_way("linf", UNIT)
    rows = [[*way, -1] for sign in (1, -1) for way in (sign * torch.eye(6)).tolist()]
    found = linprog(
        [0] * 6 + [1], [*rows, [*-row, 0]], [0] * 12 + [-needed.item()], bounds=[*box, (0, None)]
    )
    assert size.item() == pytest.approx(found.fun, rel=1e-6)


def several(count: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Half-spaces in six dimensions, around a point of which two pixels lie on the box."""
    generator = torch.Generator().manual_seed(3)
    normals = torch.randn(count, 5, 2, 6, generator=generator).double()
    needed = torch.rand(count, 5, 2, generator=generator).double() * 0.4
    pixels = torch.rand(5, 1, 6, generator=generator).double().mul(1.4).sub(0.2).clamp(0, 1)
    return list(normals), list(needed), pixels


@pytest.mark.parametrize("bounds", [None, UNIT])
@pytest.mark.parametrize("count", [2, 3])
def test_the_distance_to_all_half_spaces_is_that_of_a_solver(count, bounds) -> None:
    normals, needed, pixels = several(count)
    size, _ = shortest_delta_in_all(normals, needed, pixels, "l2", bounds)
    alone = [
        shortest_delta(*part, pixels, "l2", bounds)[0] for part in zip(normals, needed, strict=True)
    ]
    more = 0
    for n in range(5):
        for k in range(2):
            at = pixels[n, 0].numpy()
            box = None if bounds is None else list(zip(-at, 1 - at, strict=True))
            rows = torch.stack([each[n, k] for each in normals]).numpy()
            least = torch.stack([each[n, k] for each in needed]).numpy()
            every = LinearConstraint(rows, least)
            solved = minimize(
                lambda move: move @ move, 0 * at, bounds=box, constraints=every, tol=1e-12
            )
            if not solved.success:
                continue
            exact = solved.fun**0.5
            assert size[n, k] <= exact + 1e-6, "it is a lower bound"
            assert size[n, k] >= exact * (1 - (2e-3 if count == 2 else 5e-2))
            largest = max(each[n, k].item() for each in alone)
            assert size[n, k] >= largest - 2e-3
            more += exact > largest + 0.01
    assert more >= 3, "the intersection is farther than each half-space"


def test_what_cannot_be_reached_counts_as_far() -> None:
    ways, pixels = torch.ones(1, 1, 4).double(), torch.ones(1, 1, 4).double()
    size, _ = shortest_delta(ways, torch.ones(1, 1).double(), pixels, "linf", UNIT)
    assert size.item() == pytest.approx(1)


def test_it_is_the_least_distance_over_a_fine_grid(model, digits) -> None:
    images, labels = digits
    found = halfspace_bounds(model, images, labels, bounds=None, candidates=1, rounds=20)
    latents, costs = model.generators.best(images)
    line = torch.linspace(-3, 3, 121).double()
    grid = torch.cartesian_prod(line, line)
    shown = model.generators.draw(grid[:, None].expand(-1, CLASSES, -1))
    for row, label in enumerate(labels.tolist()):
        pixels = images[row].flatten()
        held = model.generators.draw(latents[row][None])[0, label]
        cost = (shown - pixels).square().sum(dim=2) + grid.square().sum(dim=1)[:, None] / 2
        sizes = (cost - costs[row, label]) / (2 * (shown - held).norm(dim=2))
        least = sizes[:, torch.arange(CLASSES) != label].min().item()
        assert least * 0.99 - 1e-3 <= found[row].item() <= least + 1e-9


def test_it_is_never_below_the_other_forms_and_more_candidates_never_lower_it(
    model, digits
) -> None:
    one = halfspace_bounds(model, *digits, bounds=None, candidates=1)
    two = halfspace_bounds(model, *digits, bounds=None, candidates=3)
    boxed = halfspace_bounds(model, *digits, candidates=3)
    triangle = synthesis_bounds(model, *digits).best
    assert (triangle + 0.02 <= one).all()
    assert (one <= two).all() and (one + 1e-3 < two).any()
    assert (two <= boxed + 1e-3).all()
    flat = halfspace_bounds(model, *digits, norm="linf")
    assert (flat >= linf_bounds(model, *digits)).all()


def test_no_attack_comes_nearer_where_the_optimum_is_known(model, digits) -> None:
    images, labels = digits

    def known(batch: Tensor) -> Tensor:
        return -model.generators.best(batch)[1]

    bound = halfspace_bounds(model, images, labels)
    result = attacks.ddn(known, images, labels, steps=150)
    sizes = perturbation_sizes(images, result, "l2")
    assert result.success.all() and (bound <= sizes).all()
    assert (bound / sizes).median() > 0.85
    flat = halfspace_bounds(model, images[:4], labels[:4], norm="linf").tolist()
    for row, size in enumerate(flat):
        one = images[row : row + 1], labels[row : row + 1]
        assert not attacks.pgd(known, *one, epsilon=0.999 * size, steps=50).success.any()
        assert attacks.pgd(known, *one, epsilon=1.5 * size, steps=50).success.all()


def test_misclassified_images_have_no_bound_and_bad_input_is_named(model, digits) -> None:
    images, labels = digits
    wrong = (labels[:3] + 1) % CLASSES
    assert (halfspace_bounds(model, images[:3], wrong) == 0).all()
    for settings, rule in (
        ({"candidates": 0}, "candidates must be >= 1, got 0"),
        ({"rounds": -1}, "rounds must be >= 0, got -1"),
        ({"norm": "l1"}, "norm must be"),
    ):
        with pytest.raises(ValueError, match=re.escape(rule)):
            halfspace_bounds(model, images, labels, **settings)
