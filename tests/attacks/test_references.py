"""The same images as Foolbox and torchattacks, on the shipped network and real digits.

Under L∞ Foolbox, torchattacks' FGSM and its PGD do our operations in our order: float32 images are
the same. torchattacks averages the loss where we sum it; over 64 images, a power of two, that
changes no bit of a direction. The others round elsewhere by one unit in the last place: both peers
in an L2 norm, torchattacks' BIM where it clips, its momentum where it normalises. In float32 that
may turn the sign of a gradient that is zero but for rounding, and with it a whole step, or put a
unit on the other side of its kink; after 40 L2 steps a pixel in a hundred is off by up to 3e-3. So
these are compared in float64, where everything is the same to 1e-6, and on images with a gradient
longer than 1e-9: Foolbox does not normalise one shorter than 1e-12, and hardly moves the image.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks
from armsrace.attacks.norms import distances

foolbox = pytest.importorskip("foolbox")
torchattacks = pytest.importorskip("torchattacks")
pytestmark = pytest.mark.peers

COUNT = 64
TOLERANCE = 1e-6
Digits = tuple[Tensor, Tensor]
Exact = tuple[nn.Module, Tensor, Tensor]


@pytest.fixture(scope="module")
def some(digits: Digits) -> Digits:
    return digits[0][:COUNT], digits[1][:COUNT]


@pytest.fixture(scope="module")
def exact(s3_cnn: nn.Module, digits: Digits) -> Exact:
    """Network, 32 images and labels in float64, none of the images with a vanishing gradient."""
    model = copy.deepcopy(s3_cnn).double()
    images, labels = digits[0][:200].double(), digits[1][:200]
    chosen = (_slopes(model, images, labels).flatten(1).norm(dim=1) > 1e-9).nonzero()[:32, 0]
    assert len(chosen) == 32
    return model, images[chosen], labels[chosen]


def _slopes(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    loss = functional.cross_entropy(model(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]


def _foolbox(attack: Any, model: nn.Module, some: Digits, epsilon: float) -> Tensor:
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(wrapped, *some, epsilons=epsilon)[1]


def _same(ours: Tensor, theirs: Tensor, clean: Tensor) -> None:
    assert (ours - clean).abs().max() > 0.01, "nothing moved, so nothing was compared"
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_fgsm_is_both_peers(s3_cnn: nn.Module, some: Digits, epsilon: float) -> None:
    ours = attacks.fgsm(s3_cnn, *some, epsilon=epsilon).images
    _same(ours, _foolbox(foolbox.attacks.FGSM(), s3_cnn, some, epsilon), some[0])
    _same(ours, torchattacks.FGSM(s3_cnn, eps=epsilon)(*some), some[0])


def test_fgsm_l2_is_foolbox(exact: Exact) -> None:
    model, *some = exact
    ours = attacks.fgsm(model, *some, epsilon=2.0, norm="l2").images
    theirs = _foolbox(foolbox.attacks.L2FastGradientAttack(), model, tuple(some), 2.0)
    _same(ours, theirs, some[0])


def test_confident_images_move_too(s3_cnn: nn.Module, digits: Digits) -> None:
    """Where the gradient is shorter than 1e-12 Foolbox's L2 step is shorter than asked."""
    images, labels = digits
    faint = (_slopes(s3_cnn, images, labels).flatten(1).norm(dim=1) < 1e-13).nonzero()[:20, 0]
    assert len(faint) == 20
    some = images[faint], labels[faint]
    ours = attacks.fgsm(s3_cnn, *some, epsilon=0.5, norm="l2").images
    theirs = _foolbox(foolbox.attacks.L2FastGradientAttack(), s3_cnn, some, 0.5)
    moved, hardly = (distances(found - some[0], "l2") for found in (ours, theirs))
    # Pixels at the end of the box keep the step from its whole length.
    assert moved.min() > 0.2 and hardly.max() < 0.1


def test_targeted_fgsm_is_foolbox(s3_cnn: nn.Module, some: Digits) -> None:
    targets = (some[1] + 1) % 10
    wrapped = foolbox.PyTorchModel(s3_cnn, bounds=(0, 1), device="cpu")
    # Foolbox's FGSM takes no targets; one step of its BIM is the same.
    step = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.2, steps=1)
    criterion = foolbox.criteria.TargetedMisclassification(targets)
    theirs = step(wrapped, some[0], criterion, epsilons=0.2)[1]
    _same(attacks.fgsm(s3_cnn, *some, epsilon=0.2, targets=targets).images, theirs, some[0])


@pytest.mark.parametrize("epsilon, steps", [(0.1, 10), (0.3, 40)])
def test_bim_and_pgd_are_foolbox(
    s3_cnn: nn.Module, some: Digits, epsilon: float, steps: int
) -> None:
    size = 2.5 * epsilon / steps
    options = {"steps": steps, "random_start": False}
    pgd = attacks.pgd(s3_cnn, *some, epsilon=epsilon, **options).images
    bim = attacks.bim(s3_cnn, *some, epsilon=epsilon, steps=steps, step_size=size).images
    for peer in (foolbox.attacks.LinfPGD, foolbox.attacks.LinfBasicIterativeAttack):
        theirs = _foolbox(peer(abs_stepsize=size, **options), s3_cnn, some, epsilon)
        _same(pgd, theirs, some[0])
        _same(bim, theirs, some[0])


@pytest.mark.parametrize("epsilon, steps", [(1.0, 10), (2.0, 40)])
def test_pgd_l2_is_foolbox(exact: Exact, epsilon: float, steps: int) -> None:
    model, *some = exact
    options = {"steps": steps, "random_start": False}
    ours = attacks.pgd(model, *some, epsilon=epsilon, norm="l2", **options).images
    peer = foolbox.attacks.L2PGD(abs_stepsize=2.5 * epsilon / steps, **options)
    _same(ours, _foolbox(peer, model, tuple(some), epsilon), some[0])


@pytest.mark.parametrize("epsilon, steps", [(0.1, 10), (0.3, 40)])
def test_pgd_is_torchattacks(s3_cnn: nn.Module, some: Digits, epsilon: float, steps: int) -> None:
    peer = torchattacks.PGD(
        s3_cnn, eps=epsilon, alpha=2.5 * epsilon / steps, steps=steps, random_start=False
    )
    ours = attacks.pgd(s3_cnn, *some, epsilon=epsilon, steps=steps, random_start=False).images
    _same(ours, peer(*some), some[0])


@pytest.mark.parametrize("epsilon, steps", [(0.1, 10), (0.3, 40)])
def test_bim_is_torchattacks(exact: Exact, epsilon: float, steps: int) -> None:
    model, images, labels = exact
    size = 2.5 * epsilon / steps
    ours = attacks.bim(model, images, labels, epsilon=epsilon, steps=steps, step_size=size).images
    peer = torchattacks.BIM(model, eps=epsilon, alpha=size, steps=steps)
    _same(ours, peer(images, labels), images)


def test_pgd_l2_is_torchattacks(exact: Exact) -> None:
    model, images, labels = exact
    ours = attacks.pgd(
        model, images, labels, epsilon=2.0, steps=20, step_size=0.2, norm="l2", random_start=False
    ).images
    # It adds 1e-10 to each length, which shortens the step of a confidently right image.
    peer = torchattacks.PGDL2(
        model, eps=2.0, alpha=0.2, steps=20, random_start=False, eps_for_division=0
    )
    _same(ours, peer(images, labels), images)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_momentum_is_torchattacks(exact: Exact, decay: float) -> None:
    model, images, labels = exact
    ours = attacks.momentum(model, images, labels, epsilon=0.2, steps=10, decay=decay).images
    peer = torchattacks.MIFGSM(model, eps=0.2, alpha=0.02, steps=10, decay=decay)
    _same(ours, peer(images, labels), images)


@pytest.mark.parametrize("epsilon", [5.0, 20.0])
def test_l1_reaches_at_least_foolbox(s3_cnn: nn.Module, some: Digits, epsilon: float) -> None:
    """Foolbox moves every pixel in proportion to its gradient; the L1 optimum moves a few."""

    def loss(images: Tensor) -> Tensor:
        with torch.no_grad():
            return functional.cross_entropy(s3_cnn(images), some[1], reduction="none")

    step = foolbox.attacks.L1FastGradientAttack()
    theirs = loss(_foolbox(step, s3_cnn, some, epsilon))
    ours = loss(attacks.fgsm(s3_cnn, *some, epsilon=epsilon, norm="l1").images)
    assert (ours >= theirs - 1e-6).double().mean() > 0.95 and ours.mean() > theirs.mean()
    walk = foolbox.attacks.L1PGD(steps=20, abs_stepsize=epsilon / 8, random_start=False)
    theirs = loss(_foolbox(walk, s3_cnn, some, epsilon))
    ours = loss(
        attacks.pgd(
            s3_cnn, *some, epsilon=epsilon, steps=20, step_size=epsilon / 8, norm="l1",
            random_start=False,
        ).images
    )  # fmt: skip
    assert (ours >= theirs - 1e-6).double().mean() > 0.95 and ours.mean() > theirs.mean()
