"""Where classes are linear every part of a bound is known, and no perturbation may beat it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from armsrace.defenses import AnalysisBySynthesis
from armsrace.evaluation import linf_bounds, synthesis_bounds
from tests.defenses.linear_classes import CLASSES, PIXELS, LinearClasses, noisy_draws

COUNT = 12


@pytest.fixture(scope="module")
def model() -> AnalysisBySynthesis:
    return AnalysisBySynthesis(LinearClasses(), inference="exact", samples=50)


@pytest.fixture(scope="module")
def digits(model) -> tuple[Tensor, Tensor]:
    return noisy_draws(model, COUNT)


@pytest.fixture(scope="module")
def bounds(model, digits):
    return synthesis_bounds(model, *digits)


def others(values: Tensor, labels: Tensor) -> Tensor:
    return values.scatter(1, labels[:, None], torch.inf).amin(dim=1)


def test_paper_and_closed_form_are_those_of_the_known_optima(model, digits, bounds) -> None:
    images, labels = digits
    rows = torch.arange(COUNT)
    latents, costs = model.generators.best(images)
    nearest = model.generators.best(images, weight=1e-12)[1].sqrt()
    own = costs[rows, labels]
    drawn = model.generators.draw(latents)[rows, labels]
    residual = (drawn - images.flatten(1)).norm(dim=1)
    paper = (nearest.square() - own[:, None]) / (2 * (nearest + residual[:, None]))
    closed = (costs - own[:, None]) / (2 * (costs.sqrt() + residual[:, None]))
    torch.testing.assert_close(bounds.paper, others(paper, labels).clamp_min(0))
    torch.testing.assert_close(bounds.closed, others(closed, labels))
    assert (bounds.paper <= bounds.closed).all()
    assert (bounds.closed > bounds.paper + 1e-3).any()
    assert (bounds.best >= bounds.closed).all() and (bounds.best >= bounds.tight).all()


def test_the_tight_form_is_the_least_ratio_of_a_fine_grid(model, digits, bounds) -> None:
    images, labels = digits
    rows = torch.arange(COUNT)
    latents, costs = model.generators.best(images)
    own = costs[rows, labels]
    drawn = model.generators.draw(latents)[rows, labels]
    residual = (drawn - images.flatten(1)).norm(dim=1)
    line = torch.linspace(-3, 3, 121).double()
    grid = torch.cartesian_prod(line, line)
    shown = model.generators.draw(grid[:, None].expand(-1, CLASSES, -1))
    for row in range(COUNT):
        error = (shown - images[row].flatten()).square().sum(dim=2)
        ratio = (error + grid.square().sum(dim=1)[:, None] / 2 - own[row]) / (
            2 * (error.sqrt() + residual[row])
        )
        capped = torch.minimum(ratio.amin(dim=0), error.amin(dim=0).sqrt())
        least = others(capped[None], labels[row : row + 1]).item()
        assert bounds.tight[row].item() == pytest.approx(least, rel=5e-3, abs=1e-3)
        assert bounds.tight[row].item() <= least + 1e-9


def test_no_perturbation_within_a_bound_changes_a_decision(model, digits, bounds) -> None:
    """Neither along the gradient of the margin nor at random, where the optimum is known."""
    images, labels = digits
    variable = images.clone().requires_grad_()
    costs = model.generators.best(variable)[1]
    rows = torch.arange(COUNT)
    margin = costs[rows, bounds.other] - costs[rows, labels]
    grad = torch.autograd.grad(margin.sum(), variable)[0]
    generator = torch.Generator().manual_seed(6)
    for step in range(50):
        way = torch.randn(images.shape, generator=generator).double() if step else -grad
        way = way / way.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        moved = images + bounds.best.view(-1, 1, 1, 1) * 0.999 * way
        assert torch.equal(model.generators.best(moved)[1].argmin(dim=1), labels)


def test_the_linf_bound_holds_and_is_no_worse_than_the_l2_bound(model, digits, bounds) -> None:
    images, labels = digits
    inside = linf_bounds(model, images, labels, halvings=12)
    free = linf_bounds(model, images, labels, halvings=12, bounds=None)
    assert (inside >= free).all()
    assert (free >= bounds.tight / PIXELS**0.5 - 1e-4).all()
    variable = images.clone().requires_grad_()
    costs = model.generators.best(variable)[1]
    rows = torch.arange(COUNT)
    margin = costs[rows, bounds.other] - costs[rows, labels]
    grad = torch.autograd.grad(margin.sum(), variable)[0]
    generator = torch.Generator().manual_seed(7)
    for step in range(50):
        way = torch.randn(images.shape, generator=generator).double() if step else -grad
        moved = (images + inside.view(-1, 1, 1, 1) * way.sign()).clamp(0, 1)
        assert torch.equal(model.generators.best(moved)[1].argmin(dim=1), labels)


def test_the_linf_bound_is_where_the_two_sides_meet(model, digits) -> None:
    """The worst and the least cost, each by plain gradient descent, at the bound found."""
    images, labels = digits
    pixels, rows = images.flatten(1), torch.arange(COUNT)
    epsilon = linf_bounds(model, images, labels, halvings=14, bounds=None)
    latents, _ = model.generators.best(images)
    away = (model.generators.draw(latents)[rows, labels] - pixels).abs() + epsilon[:, None]
    worst = away.square().sum(dim=1) + latents[rows, labels].square().sum(dim=1) / 2
    variable = latents.clone().requires_grad_()
    adam = torch.optim.Adam([variable], lr=0.02)
    for _ in range(300):
        error = (model.generators.draw(variable) - pixels[:, None]).abs() - epsilon[:, None, None]
        costs = error.clamp_min(0).square().sum(dim=2) + variable.square().sum(dim=2) / 2
        adam.zero_grad()
        costs.sum().backward()
        adam.step()
    least = others(costs.detach(), labels)
    torch.testing.assert_close(worst, least, rtol=2e-3, atol=2e-3)


def test_misclassified_images_have_no_bound(model, digits) -> None:
    images, labels = digits
    wrong = (labels + 1) % CLASSES
    found = synthesis_bounds(model, images[:3], wrong[:3])
    assert (found.best == 0).all() and (found.paper == 0).all()
    assert (linf_bounds(model, images[:3], wrong[:3], halvings=3) == 0).all()


def test_bad_input_is_named(model, digits) -> None:
    images, labels = digits
    for call, rule in (
        (lambda: synthesis_bounds(model, images, labels + 5), "labels must be < 3"),
        (lambda: linf_bounds(model, images, labels, halvings=0), "halvings must be >= 1, got 0"),
        (lambda: linf_bounds(model, images, labels, largest=0.0), "largest must be >= 1e-09"),
    ):
        with pytest.raises(ValueError, match=re.escape(rule)):
            call()
