"""FAB is exact on linear models within the box, and as near as the authors' code elsewhere."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.minimal.fab import hyperplane_step
from armsrace.contracts import UNIT, Bounds, Norm
from armsrace.norms import BUDGETED, batch_view, distances
from tests.attacks.linear import centered, some_images

Digits = tuple[Tensor, Tensor]


def _weights(count: int, seed: int) -> Tensor:
    """Some of them zero, and of very different sizes."""
    draws = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, 1, 2, 4, generator=draws, dtype=torch.float64) ** 3
    return torch.where(weights.abs() < 0.01, 0.0, weights)


def _reach(weights: Tensor, images: Tensor, gaps: Tensor) -> Tensor:
    """How much w · δ can become within the box, with the gap's sign."""
    up, down = (weights * (1 - images)), (-weights * images)
    most, least = (fold.flatten(1).sum(1) for fold in (up.maximum(down), up.minimum(down)))
    return torch.where(gaps > 0, most, least)


@pytest.mark.parametrize("norm", BUDGETED)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.0, 1.5))
def test_a_step_ends_on_the_hyperplane_or_in_the_corner(
    norm: Norm, seed: int, share: float
) -> None:
    images, weights = some_images(6, seed), _weights(6, seed)
    signs = torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)
    gaps = share * _reach(weights, images, signs)
    delta = hyperplane_step(images, weights, gaps, norm, UNIT)
    assert (images + delta).min() >= -1e-12 and (images + delta).max() <= 1 + 1e-12
    closed = (weights * delta).flatten(1).sum(dim=1)
    torch.testing.assert_close(closed, gaps * min(1.0, 1 / max(share, 1e-9)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", BUDGETED)
def test_no_shorter_step_closes_the_gap(norm: Norm) -> None:
    """The most that a ball of the same radius gains, by bisection or by its own formula."""
    images, weights = some_images(50, 3), _weights(50, 3)
    gaps = 0.6 * _reach(weights, images, torch.ones(50, dtype=torch.float64))
    sizes = distances(hyperplane_step(images, weights, gaps, norm, UNIT), norm)
    # By duality: for each multiplier the ball's support function bounds what w · δ can be.
    room = torch.where(weights > 0, 1 - images, images).flatten(1)
    size = weights.flatten(1).abs()
    for row in range(50):
        if norm == "linf":
            most = (size[row] * room[row].clamp_max(0.999 * sizes[row])).sum()
        elif norm == "l1":
            order = size[row].argsort(descending=True)
            before = room[row][order].cumsum(0) - room[row][order]
            amounts = (0.999 * sizes[row] - before).clamp_min(0).minimum(room[row][order])
            most = (size[row][order] * amounts).sum()
        else:
            scales = torch.logspace(-4, 4, 4000, dtype=torch.float64)[:, None]
            moved = (scales * size[row]).minimum(room[row])
            inside = moved.norm(dim=1) <= 0.999 * sizes[row]
            most = (moved * size[row]).sum(dim=1)[inside].max()
        assert most < gaps[row]


@pytest.mark.parametrize("norm", BUDGETED)
@pytest.mark.parametrize("options", [{}, {"target_classes": 1}, {"aimed": True}])
def test_it_is_exact_on_a_linear_model(norm: Norm, options: dict[str, Any]) -> None:
    """With two classes, in the box; the final search leaves little."""
    model, images = centered(2), some_images(40)
    with torch.no_grad():
        logits = model(images)
    labels = logits.argmax(dim=1)
    rows = torch.arange(40)
    weight = model[1].weight.detach()  # type: ignore[index]
    normal = (weight[1 - labels] - weight[labels]).view_as(images)
    gaps = logits[rows, labels] - logits[rows, 1 - labels]
    exact = hyperplane_step(images, normal, gaps, norm, UNIT)
    reached = ((normal * exact).flatten(1).sum(dim=1) - gaps).abs() < 1e-9
    options = dict(options)
    if options.pop("aimed", False):
        options["targets"] = 1 - labels
    found = attacks.fab(model, images, labels, norm=norm, steps=20, **options)
    assert torch.equal(found.success, reached) and reached.sum() > 20
    ratio = distances(found.images - images, norm)[reached] / distances(exact, norm)[reached]
    assert ratio.min() >= 1 - 1e-9 and ratio.max() < 1.005


def test_the_nearest_of_many_classes(s3_cnn: nn.Module, digits: Digits) -> None:
    """Aimed at every class it finds what all boundaries together give, or nearer; DeepFool's is not
    nearer."""
    images, labels = digits[0][:12], digits[1][:12]
    together = attacks.fab(s3_cnn, images, labels, norm="l2", steps=20)
    aimed = attacks.fab(s3_cnn, images, labels, norm="l2", steps=20, target_classes=9)
    fast = attacks.deepfool(s3_cnn, images, labels)
    size = [distances(found.images - images, "l2") for found in (together, aimed, fast)]
    assert together.success.all() and aimed.success.all()
    torch.testing.assert_close(size[0].median(), size[1].median(), rtol=0.02, atol=0)
    assert (size[0] <= size[2] * (1 + 1e-4)).all()


def test_an_image_within_epsilon_is_done(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:12], digits[1][:12]
    whole = attacks.fab(s3_cnn, images, labels, steps=20)
    size = distances(whole.images - images, "linf")
    within = attacks.fab(s3_cnn, images, labels, steps=20, epsilon=0.06)
    assert 0 < (size <= 0.06).sum() < 12
    assert torch.equal(distances(within.images - images, "linf") <= 0.06, size <= 0.06)
    assert within.gradients[size <= 0.06].max() < whole.gradients.max()


def test_restarts_never_lose(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    sizes = []
    for restarts in (1, 4):
        found = attacks.fab(trained, images, labels, norm="l1", steps=5, restarts=restarts)
        sizes.append(distances(found.images - images, "l1").where(found.success, torch.inf))
    assert (sizes[1] <= sizes[0] * (1 + 1e-6)).all() and (sizes[1] < 0.999 * sizes[0]).any()


def test_a_wide_box_gives_the_same_images(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:8].double(), digits[1][:8]

    def scaled(batch: Tensor) -> Tensor:
        return trained.float()((batch / 255).float())

    ours = attacks.fab(lambda batch: trained(batch.float()), images, labels, steps=10)
    wide = attacks.fab(scaled, 255 * images, labels, steps=10, bounds=Bounds(0, 255))
    one, other = (distances(x, "linf") for x in (ours.images - images, wide.images / 255 - images))
    torch.testing.assert_close(one, other, rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"restarts": 0}, "restarts must be >= 1, got 0"),
        ({"norm": "l0"}, "norm must be one of linf, l2, l1, got 'l0'"),
        ({"epsilon": -1.0}, "epsilon must be >= 0, got -1"),
        ({"target_classes": 0}, "target_classes must be >= 1, got 0"),
        ({"target_classes": 2, "targets": torch.tensor([1, 2])}, "target_classes must be None"),
    ],
)
def test_bad_options(trained: nn.Module, digits: Digits, options: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        attacks.fab(trained, digits[0][:2], digits[1][:2], **options)


@pytest.mark.peers
@pytest.mark.parametrize("norm", BUDGETED)
def test_a_step_is_the_authors(norm: Norm) -> None:
    theirs = pytest.importorskip("pyautoattack.fab_projections")
    images, weights = some_images(60, 7).float(), _weights(60, 7).float()
    gaps = 0.5 * _reach(weights, images, torch.ones(60))
    flat, normal = images.flatten(1), weights.flatten(1)
    offset = (normal * flat).sum(dim=1) + gaps
    found = getattr(theirs, f"projection_{norm}")(flat, normal, offset).view_as(images)
    ours = hyperplane_step(images, weights, gaps, norm, UNIT)
    torch.testing.assert_close(distances(ours, norm), distances(found, norm), rtol=1e-4, atol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("norm", BUDGETED)
def test_it_goes_no_further_than_the_authors(s3_cnn: nn.Module, digits: Digits, norm: Norm) -> None:
    pytest.importorskip("pyautoattack")
    images, labels = digits[0][:8], digits[1][:8]
    build = import_module("pyautoattack.fab_pt").FABAttack_PT
    peer = build(s3_cnn, norm=norm.capitalize(), n_iter=20, seed=0, device="cpu")
    theirs = distances(peer.attack_single_run(images, labels) - images, norm)
    found = attacks.fab(s3_cnn, images, labels, norm=norm, steps=20)
    assert (distances(found.images - images, norm) <= 1.001 * theirs).all()
    assert batch_view(found.success).all()
