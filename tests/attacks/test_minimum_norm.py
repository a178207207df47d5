"""`minimum_norm` is exact on linear models, and nearer than peers with more steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.contracts import Bounds, Norm
from armsrace.norms import distances
from tests.attacks.linear import two_classes
from tests.attacks.peers import Digits

NORMS = ("linf", "l2", "l1")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("aimed", [False, True])
def test_it_finds_the_boundary_of_a_linear_model(norm: Norm, aimed: bool) -> None:
    model, images, labels, exact = two_classes(norm)
    targets = 1 - labels if aimed else None
    found = attacks.minimum_norm(
        model, images, labels, norm=norm, targets=targets, bounds=Bounds(-20, 20)
    )
    sizes = evaluation.perturbation_sizes(images, found, norm)
    assert found.success.all()
    assert (sizes >= exact * (1 - 1e-9)).all()
    assert (sizes <= exact * 1.005).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_class_is_found_though_it_is_not_the_likeliest(norm: Norm) -> None:
    """The likeliest wrong class has a flat logit, and another pixel: its boundary is far away."""
    layer = nn.Linear(8, 3).double()
    layer.weight.data = torch.zeros(3, 8, dtype=torch.float64)
    layer.weight.data[1, 0], layer.weight.data[2, 1:] = 0.1, 5.0
    layer.bias.data = torch.tensor([1.0, 0.9, -17.5], dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), layer)
    images = torch.full((1, 1, 2, 4), 0.5, dtype=torch.float64)
    labels = torch.tensor([0])
    with torch.no_grad():
        assert model(images).argsort(descending=True).tolist() == [[0, 1, 2]]
    alone, both = (
        attacks.minimum_norm(model, images, labels, norm=norm, classes=k, bounds=Bounds(-9, 9))
        for k in (1, 2)
    )
    sizes = [evaluation.perturbation_sizes(images, found, norm).item() for found in (alone, both)]
    with torch.no_grad():
        assert model(both.images).argmax(dim=1).item() == 2
    assert sizes[1] < 0.9 * sizes[0]


def test_a_class_is_given_up_where_its_boundary_is_far(s3_cnn: nn.Module, some: Digits) -> None:
    images, labels = some[0][:10], some[1][:10]
    found = attacks.minimum_norm(
        s3_cnn, images, labels, classes=9, approach_steps=10, steps=5, final_steps=5
    )
    # 9 approaches, at least one search, and the last one; some classes are not searched.
    assert (found.gradients >= 9 * 10 + 5 + 5).all()
    assert (found.gradients < 9 * (10 + 5) + 5).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("aimed", [False, True])
def test_l0_needs_as_many_pixels_of_a_linear_model_as_the_greatest_gains(
    channels: int, aimed: bool
) -> None:
    """A pixel can be changed in all its channels, and then counts once."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(channels * 8, 2).double()
    layer.weight.data = torch.randn(2, channels * 8, generator=generator, dtype=torch.float64)
    layer.bias.data = -layer.weight.data.sum(dim=1) / 2
    # So that several pixels are needed.
    layer.bias.data[0] += 0.35 * layer.weight.data.diff(dim=0).abs().sum()
    model = nn.Sequential(nn.Flatten(), layer)
    images = torch.rand(40, channels, 2, 4, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        logits = model(images)
    labels, margins = logits.argmax(dim=1), logits.diff(dim=1)[:, 0].abs()
    direction = (layer.weight[1] - layer.weight[0]).detach() * (1 - 2 * labels)[:, None]
    room = torch.where(direction > 0, 1 - images.flatten(1), images.flatten(1))
    gains = (direction.abs() * room).unflatten(1, (channels, 8)).sum(dim=1)
    gained = gains.sort(dim=1, descending=True).values.cumsum(dim=1)
    exact = (gained <= margins[:, None]).sum(dim=1) + 1
    targets = 1 - labels if aimed else None
    found = attacks.minimum_norm(model, images, labels, norm="l0", targets=targets)
    sizes = evaluation.perturbation_sizes(images, found, "l0")
    assert exact.unique().numel() > 2 and exact.max() < 8
    assert found.success.all()
    assert torch.equal(sizes, exact.to(sizes.dtype))


def test_moves_in_l0_never_add_a_pixel(s3_cnn: nn.Module, some: Digits) -> None:
    images, labels = some[0][:10], some[1][:10]
    sizes = []
    for moves in (1, 15):
        found = attacks.minimum_norm(s3_cnn, images, labels, norm="l0", final_steps=moves)
        assert found.success.all()
        with torch.no_grad():
            assert (s3_cnn(found.images).argmax(dim=1) != labels).all()
        sizes.append(distances(found.images - images, "l0"))
    assert (sizes[1] <= sizes[0]).all() and sizes[1].sum() < sizes[0].sum()


def _sizes(model: nn.Module, images: Tensor, found: Tensor, labels: Tensor, norm: Any) -> Tensor:
    with torch.no_grad():
        wrong = model(found).argmax(dim=1) != labels
    return torch.where(wrong, distances(found - images, norm), torch.inf)


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize(("norm", "order"), [("linf", torch.inf), ("l1", 1)])
def test_it_is_nearer_than_adv_lib_in_a_third_of_the_steps(
    s3_cnn: nn.Module, some: Digits, norm: Norm, order: float
) -> None:
    pytest.importorskip("adv_lib")
    from adversarial_library import attacks as adv_lib

    images, labels = some[0][:20], some[1][:20]
    found = attacks.minimum_norm(s3_cnn, images, labels, norm=norm)
    theirs = adv_lib.fmn(s3_cnn, images, labels, norm=order, steps=400)
    ours, peer = (_sizes(s3_cnn, images, x, labels, norm) for x in (found.images, theirs))
    assert found.success.all() and ours.mean() < peer.mean()
    assert found.gradients.double().mean() < 350
