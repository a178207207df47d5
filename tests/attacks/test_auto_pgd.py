"""APGD: its checkpoints, its losses, what it keeps, and the same images as torchattacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from armsrace import attacks
from armsrace.attacks.base import attack_context
from armsrace.attacks.gradient.auto_pgd import algorithm_1, checkpoints
from armsrace.contracts import UNIT
from armsrace.losses import Loss, cross_entropy, dlr, targeted_dlr
from armsrace.norms import distances
from tests.attacks.linear import linear, some_images
from tests.attacks.peers import Exact

Digits = tuple[Tensor, Tensor]


def test_the_checkpoints_are_the_papers() -> None:
    """p = 0, 0.22, then p + max(p − p' − 0.03, 0.06): of a hundred steps these."""
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(5)) == [1, 2, 3, 4, 5]


def test_the_ratio_has_no_scale() -> None:
    logits = torch.tensor([[4.0, 1.0, 2.0, 0.0], [0.0, 3.0, 2.5, -1.0]])
    classes = torch.tensor([0, 2])
    torch.testing.assert_close(dlr(logits, classes), torch.tensor([-2 / 3, 0.5 / 3]))
    torch.testing.assert_close(dlr(100 * logits, classes), dlr(logits, classes))


def test_a_target_in_third_place_has_a_gradient() -> None:
    """With the gap to the third logit alone the ratio would be 1 whatever the image."""
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]], requires_grad=True)
    third = torch.tensor([2])
    assert dlr(logits, third) == 1
    found = targeted_dlr(logits, third)
    torch.testing.assert_close(found, torch.tensor([2 / 2.5]))
    assert torch.autograd.grad(found.sum(), logits)[0][0, 2] < 0


@pytest.mark.parametrize(("loss", "classes"), [(dlr, 2), (targeted_dlr, 3)])
def test_too_few_classes_are_refused(loss: Loss, classes: int) -> None:
    with pytest.raises(ValueError, match=f"at least {classes + 1} classes, got {classes}"):
        loss(torch.zeros(1, classes), torch.zeros(1, dtype=torch.int64))


def test_one_step_on_a_linear_model_is_exact() -> None:
    """The loss rises with each step; the corner of the cube is where it is greatest."""
    model, images = linear(2), some_images(3)
    labels = model(images).argmax(dim=1)
    found = attacks.auto_pgd(model, images, labels, epsilon=0.01, steps=3, random_start=False)
    exact = attacks.fgsm(model, images, labels, epsilon=0.01)
    torch.testing.assert_close(found.images, exact.images)


def test_more_is_found_than_by_plain_steps(trained: nn.Module, digits: Digits) -> None:
    images, labels = digits[0][:60], digits[1][:60]
    reached = {}
    for name, attack in (("auto", attacks.auto_pgd), ("plain", attacks.pgd)):
        result = attack(trained, images, labels, epsilon=0.1, steps=20, random_start=False)
        with torch.no_grad():
            reached[name] = cross_entropy(trained(result.images), labels).mean()
        assert distances(result.images - images, "linf").max() <= 0.1 + 1e-6
    assert reached["auto"] > reached["plain"]


def test_a_point_that_fools_beats_one_of_greater_loss() -> None:
    """The loss, an arbitrary one, leads past the only region that fools."""

    def model(images: Tensor) -> Tensor:
        value = images.flatten(1).mean(1, keepdim=True)
        fools = (value - 0.6).abs() < 0.05
        return torch.cat([torch.where(fools, -1.0, 1.0) * value, 0 * value, -value], dim=1)

    def brightness(logits: Tensor, classes: Tensor) -> Tensor:
        return -logits[:, 2]

    images, labels = torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, dtype=torch.int64)
    options = {"epsilon": 0.05, "steps": 8, "random_start": False, "loss": brightness}
    found = attacks.auto_pgd(model, images + 0.08, labels, **options)  # type: ignore[arg-type]
    assert found.success.all()


@pytest.mark.peers
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.04), ("l2", 0.5)])
@pytest.mark.parametrize("name", ["ce", "dlr"])
def test_the_climb_is_torchattacks(exact: Exact, norm: str, epsilon: float, name: str) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    model, images, labels = exact
    peer = torchattacks.APGD(model, norm=norm.capitalize(), eps=epsilon, steps=20, loss=name)
    loss = {"ce": cross_entropy, "dlr": dlr}[name]
    torch.manual_seed(0)
    start = _their_start(images, norm, epsilon)
    with torch.no_grad():
        first = loss(model(start), labels).float().numpy()[None]

    def oscillates(losses: Any, step: int, window: int, best: Any, k3: float) -> Any:
        """Theirs, but for the first step: it has no loss before it, and takes the last row's 0."""
        known = np.concatenate([first, losses])[step + 1 - window : step + 2]
        return (known[1:] > known[:-1]).sum(0) <= window * k3

    peer.check_oscillation = oscillates
    torch.manual_seed(0)
    best, *_ = peer.attack_single_run(images, labels)
    with attack_context(model, images, labels, None, UNIT) as context:
        found = algorithm_1(context, start, epsilon, 20, norm, loss)  # type: ignore[arg-type]
    ours = found.x_adv
    assert (ours - images).abs().max() > 0.01
    # Where a misclassified image has its label in third place, the ratio is constant but for their
    # 1e-12 in the denominator. So the budget leaves most images classified correctly.
    same = (ours - best).flatten(1).abs().amax(1) < 1e-6
    assert same.double().mean() > 0.8


def _their_start(images: Tensor, norm: str, epsilon: float) -> Tensor:
    """torchattacks begins on the sphere, not in the ball."""
    if norm == "linf":
        draw = 2 * torch.rand(images.shape) - 1
        draw = draw / draw.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
    else:
        draw = torch.randn(images.shape)
        draw = draw / draw.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (images + epsilon * draw).clamp(0, 1)
