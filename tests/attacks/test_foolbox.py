"""The same images as Foolbox; `peers` says where float64 is needed, and why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from armsrace import attacks
from armsrace.norms import distances
from tests.attacks.peers import Digits, Exact, check_same, slopes

foolbox = pytest.importorskip("foolbox")
pytestmark = pytest.mark.peers


def _foolbox(attack: Any, model: nn.Module, some: Digits, epsilon: float) -> Tensor:
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(wrapped, *some, epsilons=epsilon)[1]


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_fgsm_is_foolbox(s3_cnn: nn.Module, some: Digits, epsilon: float) -> None:
    ours = attacks.fgsm(s3_cnn, *some, epsilon=epsilon).images
    check_same(ours, _foolbox(foolbox.attacks.FGSM(), s3_cnn, some, epsilon), some[0])


def test_fgsm_l2_is_foolbox(exact: Exact) -> None:
    model, *some = exact
    ours = attacks.fgsm(model, *some, epsilon=2.0, norm="l2").images
    theirs = _foolbox(foolbox.attacks.L2FastGradientAttack(), model, tuple(some), 2.0)
    check_same(ours, theirs, some[0])


def test_confident_images_move_too(s3_cnn: nn.Module, digits: Digits) -> None:
    """Where the gradient is shorter than 1e-12 Foolbox's L2 step is shorter than asked."""
    images, labels = digits
    faint = (slopes(s3_cnn, images, labels).flatten(1).norm(dim=1) < 1e-13).nonzero()[:20, 0]
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
    check_same(attacks.fgsm(s3_cnn, *some, epsilon=0.2, targets=targets).images, theirs, some[0])


@pytest.mark.parametrize(("epsilon", "steps"), [(0.1, 10), (0.3, 40)])
def test_bim_and_pgd_are_foolbox(
    s3_cnn: nn.Module, some: Digits, epsilon: float, steps: int
) -> None:
    size = 2.5 * epsilon / steps
    options = {"steps": steps, "random_start": False}
    pgd = attacks.pgd(s3_cnn, *some, epsilon=epsilon, **options).images
    bim = attacks.bim(s3_cnn, *some, epsilon=epsilon, steps=steps, step_size=size).images
    for peer in (foolbox.attacks.LinfPGD, foolbox.attacks.LinfBasicIterativeAttack):
        theirs = _foolbox(peer(abs_stepsize=size, **options), s3_cnn, some, epsilon)
        check_same(pgd, theirs, some[0])
        check_same(bim, theirs, some[0])


@pytest.mark.parametrize(("epsilon", "steps"), [(1.0, 10), (2.0, 40)])
def test_pgd_l2_is_foolbox(exact: Exact, epsilon: float, steps: int) -> None:
    model, *some = exact
    options = {"steps": steps, "random_start": False}
    ours = attacks.pgd(model, *some, epsilon=epsilon, norm="l2", **options).images
    peer = foolbox.attacks.L2PGD(abs_stepsize=2.5 * epsilon / steps, **options)
    check_same(ours, _foolbox(peer, model, tuple(some), epsilon), some[0])


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
