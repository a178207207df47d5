"""The shipped models read digits, and exact inference explains them at least as well as Adam."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armsrace import zoo
from armsrace.defenses import AdamSearch, AnalysisBySynthesis
from armsrace.defenses.analysis_by_synthesis.inference import projected_grad_norm
from armsrace.evaluation import synthesis_bounds
from armsrace.models.abs_vae import ClassDecoders

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("abs" not in zoo.names(), reason="abs has no weights yet"),
]


@pytest.fixture(scope="module")
def exact() -> AnalysisBySynthesis:
    return AnalysisBySynthesis(ClassDecoders(zoo.load("abs")), inference="exact", samples=2000)


def test_exact_costs_no_more_than_adams_and_is_flatter(
    exact: AnalysisBySynthesis, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    pixels = images.flatten(1)
    adam = AdamSearch()(exact.generators, pixels, exact.samples.best(pixels))
    found = exact.infer(images)
    assert (found.values <= adam.values * (1 + 1e-5)).all()
    grads = [projected_grad_norm(exact.generators, pixels, way.latents) for way in (adam, found)]
    assert grads[1].median() < 0.05 * grads[0].median()
    assert (found.values.argmin(dim=1) == labels).float().mean() >= 0.9


def test_the_gradient_is_that_of_finite_differences(
    exact: AnalysisBySynthesis, digits: tuple[Tensor, Tensor]
) -> None:
    images = (0.9 * digits[0][:2] + 0.05).requires_grad_()
    grad = torch.autograd.grad(exact.costs(images).sum(), images)[0]
    way = grad.sign() * 1e-2 / 28
    along = (grad * way).flatten(1).sum(dim=1)
    with torch.no_grad():
        above, below = (exact.infer(images + move).values.sum(dim=1) for move in (way, -way))
    torch.testing.assert_close(along, (above - below) / 2, rtol=0.01, atol=1e-3)


def test_the_papers_bound_is_the_least_of_the_three(
    exact: AnalysisBySynthesis, digits: tuple[Tensor, Tensor]
) -> None:
    found = synthesis_bounds(exact, digits[0][:4], digits[1][:4])
    assert (found.paper <= found.closed).all()
    assert (found.best > found.paper).any()
