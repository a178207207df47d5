"""The boundary attack converges where the distance is known, and looks at decisions alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks
from armsrace.attacks.black_box.boundary import START_BISECTIONS
from armsrace.contracts import Bounds
from armsrace.norms import distances

WIDE = Bounds(-50, 50)
Digits = tuple[Tensor, Tensor]


def decisions(model: nn.Module) -> nn.Module:
    """The model with nothing left of its scores but which is the greatest."""

    class Decisions(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = model(images)
            return 5 * functional.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits)

    return Decisions().eval()


@pytest.fixture
def some(trained: nn.Module, digits: Digits) -> Digits:
    """Ten digits that the small network gets right."""
    with torch.no_grad():
        right = (trained(digits[0]).argmax(dim=1) == digits[1]).nonzero()[:10, 0]
    return digits[0][right], digits[1][right]


def _linear(classes: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(classes)
    weights = torch.randn(classes, 12, generator=draws, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(8, 1, 3, 4, generator=draws, dtype=torch.float64)
    return weights, images, (images.flatten(1) @ weights.T).argmax(dim=1)


@pytest.mark.parametrize("classes", [2, 4])
def test_it_converges_to_the_distance_of_a_linear_model(classes: int) -> None:
    weights, images, labels = _linear(classes)
    logits = images.flatten(1) @ weights.T
    gaps = logits.gather(1, labels[:, None]) - logits
    lengths = (weights[labels][:, None] - weights).norm(dim=2)
    expected = (gaps / lengths).scatter(1, labels[:, None], torch.inf).amin(dim=1)
    found = attacks.boundary(
        lambda batch: batch.flatten(1) @ weights.T, images, labels, steps=1500, bounds=WIDE
    )
    assert found.success.all()
    ratio = distances(found.images - images, "l2") / expected
    assert ratio.min() >= 1, "nearer than the boundary"
    # With four classes a walk may end at a boundary that is not the nearest.
    assert ratio.max() < 1.02 if classes == 2 else ratio.median() < 1.02


def test_scores_do_not_matter(trained: nn.Module, some: Digits) -> None:
    from_scores = attacks.boundary(trained, *some, steps=60)
    from_decisions = attacks.boundary(decisions(trained), *some, steps=60)
    assert torch.equal(from_scores.images, from_decisions.images)


def test_each_step_comes_nearer(trained: nn.Module, some: Digits) -> None:
    def distance_after(steps: int) -> Tensor:
        found = attacks.boundary(trained, *some, steps=steps)
        assert found.success.all()
        return distances(found.images - some[0], "l2")

    few, more, many = (distance_after(steps) for steps in (1, 60, 400))
    assert (more <= few).all() and (many <= more).all()
    assert many.median() < 0.5 * few.median()


def test_every_query_is_counted(trained: nn.Module, some: Digits) -> None:
    """The clean image, the start, its halvings, the steps, one sphere in ten, the verdict."""
    images, labels = some
    other = images[(labels[:, None] != labels).int().argmax(dim=1)]
    found = attacks.boundary(trained, images, labels, steps=55, start=other)
    assert (found.queries == 1 + 1 + START_BISECTIONS + 55 + 5 + 1).all()
    assert (found.gradients == 0).all()


def test_a_start_leads_to_its_class(trained: nn.Module, some: Digits) -> None:
    images, labels = some
    other = (labels[:, None] != labels).int().argmax(dim=1)
    found = attacks.boundary(
        trained, images, labels, steps=300, start=images[other], targets=labels[other]
    )
    with torch.no_grad():
        assert torch.equal(trained(found.images).argmax(dim=1), labels[other])
    at_start = distances(images[other] - images, "l2")
    assert found.success.all() and (distances(found.images - images, "l2") < 0.8 * at_start).all()


def test_what_has_converged_asks_no_more(trained: nn.Module, some: Digits) -> None:
    images, labels = some
    other = images[(labels[:, None] != labels).int().argmax(dim=1)]
    found = attacks.boundary(trained, *some, steps=500, source_step=5e-8, start=other)
    assert (found.queries == 1 + 1 + START_BISECTIONS + 1 + 1).all()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"tries": 0}, "tries must be >= 1, got 0"),
        ({"spherical_step": -1.0}, "spherical_step must be >= 0, got -1"),
        ({"source_step": float("nan")}, "source_step must be >= 0, got nan"),
        ({"start": torch.zeros(3, 1, 28, 28)}, "start must have shape (10, 1, 28, 28), got (3,"),
        ({"start": [0]}, "start must have shape (10, 1, 28, 28), got list"),
        ({"start": torch.full((10, 1, 28, 28), 2.0)}, "start must lie in [0.0, 1.0]"),
    ],
)
def test_bad_options(trained: nn.Module, some: Digits, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        attacks.boundary(trained, *some, **options)


def test_a_start_that_fools_nobody_is_refused(trained: nn.Module, some: Digits) -> None:
    start = some[0].roll(1, dims=0)
    start[3] = some[0][3]
    with torch.no_grad():
        good = (trained(start).argmax(dim=1) != some[1]).sum()
    with pytest.raises(ValueError, match=f"start must be adversarial, got {10 - good} of 10 that"):
        attacks.boundary(trained, *some, start=start)


def test_a_watched_walk_passes_where_shorter_ones_end(trained: nn.Module, some: Digits) -> None:
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    last = attacks.boundary(
        trained, *some, steps=40,
        watch=lambda step, images, queries: seen.update({step: (images, queries)}),
    )  # fmt: skip
    assert list(seen) == list(range(1, 41))
    for steps in (1, 15, 40):
        shorter = attacks.boundary(trained, *some, steps=steps)
        torch.testing.assert_close(seen[steps][0], shorter.images)
        assert torch.equal(seen[steps][1] + 1, shorter.queries), "but for the judging pass"
    assert torch.equal(seen[40][0], last.images)
