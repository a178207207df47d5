"""FMN finds the boundary of a linear model in each norm, and uses starting images."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks, evaluation
from armsrace.attacks.base import attack_context
from armsrace.attacks.black_box.starting_points import nearest_in_balls
from armsrace.contracts import UNIT, Bounds, Norm
from armsrace.norms import distances
from tests.attacks.linear import linear, some_images, two_classes

Digits = tuple[Tensor, Tensor]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("aimed", [False, True])
def test_it_finds_the_boundary_of_a_linear_model(norm: Norm, aimed: bool) -> None:
    model, images, labels, exact = two_classes(norm)
    found = attacks.fmn(model, images, labels, norm=norm, steps=200, first_alpha=1.0,
                        targets=1 - labels if aimed else None, bounds=Bounds(-20, 20))  # fmt: skip
    sizes = evaluation.perturbation_sizes(images, found, norm)
    assert found.success.all()
    assert (sizes >= exact * (1 - 1e-9)).all()
    assert (sizes <= exact * 1.01).all()


@pytest.mark.parametrize(
    "attack", [partial(attacks.fmn, norm="l0"), attacks.sigma_zero], ids=["fmn", "sigma-zero"]
)
def test_it_needs_as_few_pixels_of_a_linear_model_as_can_be(attack: Any) -> None:
    """Each pixel goes to the end of the box; those that gain most suffice."""
    model, images, box = linear(2), some_images(40), Bounds(-1, 2)
    with torch.no_grad():
        logits = model(images)
        labels = logits.argmax(dim=1)
    weight = model[1].weight.detach()  # type: ignore[index]
    slope = (weight[1] - weight[0]) * (1 - 2 * labels)[:, None]
    room = torch.where(slope > 0, box.upper - images.flatten(1), images.flatten(1) - box.lower)
    gains = (slope.abs() * room).sort(dim=1, descending=True).values.cumsum(dim=1)
    margins = (logits[:, 1] - logits[:, 0]).abs()
    assert (gains[:, -1] > margins).all()
    fewest = (gains <= margins[:, None]).sum(dim=1) + 1
    found = attack(model, images, labels, steps=200, bounds=box)
    sizes = evaluation.perturbation_sizes(images, found, "l0")
    assert found.success.all() and (sizes >= fewest).all()
    assert (sizes == fewest).double().mean() >= 0.7, (sizes, fewest)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_it_begins_near_the_boundary_of_a_starting_image(
    s3_cnn: nn.Module, digits: Digits, norm: Norm
) -> None:
    """One step finds no more than the way to the start does; a useless start is passed over."""
    images, labels = digits[0][:20], digits[1][:20]
    start = images[(labels[:, None] != labels[None]).int().argmax(dim=1)]
    start[0] = images[0]
    with torch.no_grad(), attack_context(s3_cnn, images, labels, None, UNIT) as context:
        part = context.select(torch.arange(1, 20))
        near = nearest_in_balls(part, start[1:], norm, 10)
        assert part.is_adversarial(part.logits(near)).all()
    way, whole = (distances(x - images[1:], norm) for x in (near, start[1:]))
    assert (way <= whole + 1e-4).all() and way.median() < 0.9 * whole.median()
    found = attacks.fmn(s3_cnn, images, labels, norm=norm, steps=10, start=start)
    sizes = evaluation.perturbation_sizes(images, found, norm)[1:]
    assert found.success[1:].all() and (sizes <= way + 1e-4).all()


def test_the_scale_of_the_box_does_not_matter(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    for attack in (partial(attacks.fmn, norm="linf"), partial(attacks.fmn, norm="l1"),
                   attacks.sigma_zero):  # fmt: skip
        unit = attack(s3_cnn, images, labels, steps=20)
        scaled = attack(
            lambda z: s3_cnn(z / 255), 255 * images, labels, steps=20, bounds=Bounds(0, 255)
        )
        assert torch.equal(unit.success, scaled.success)
        close = (scaled.images / 255 - unit.images).abs().flatten(1).amax(dim=1) < 1e-3
        assert close.double().mean() >= 0.7


def test_patience_saves_passes(s3_cnn: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    for attack, norm, options in (
        (attacks.fmn, "l2", {"norm": "l2"}), (attacks.sigma_zero, "l0", {}),
    ):  # fmt: skip
        full, short = (
            attack(s3_cnn, images, labels, steps=100, patience=patience, **options)
            for patience in (None, 15)
        )
        assert short.success.all() and short.gradients.sum() < full.gradients.sum()
        sizes = [evaluation.median_distance(images, found, norm) for found in (full, short)]
        assert sizes[1] <= 1.25 * sizes[0]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"norm": "l3"}, "norm must be one of linf, l2, l1, l0, got 'l3'"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"first_alpha": 0.0}, "first_alpha must be >= 1e-06, got 0"),
        ({"last_alpha": -1.0}, "last_alpha must be >= 0, got -1"),
        ({"first_gamma": 1.0}, "first_gamma must be < 1, got 1"),
        ({"last_gamma": 0.1}, "last_gamma must be <= first_gamma, got 0.1 > 0.05"),
        ({"loss": "margin"}, "loss must be a function"),
        ({"step_norm": "l1"}, "step_norm must be one of linf, l2, got 'l1'"),
        ({"patience": 0}, "patience must be >= 1, got 0"),
        ({"start": torch.zeros(1, 1, 28, 28)}, "start must have shape"),
        ({"start": torch.full((2, 1, 28, 28), 2.0)}, "start must lie in"),
    ],
)
def test_bad_options(trained: nn.Module, digits: Digits, options, rule: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rule):
        attacks.fmn(trained, digits[0][:2], digits[1][:2], **options)
