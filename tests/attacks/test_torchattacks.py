"""The same images as torchattacks; `peers` says where float64 is needed, and why."""

from __future__ import annotations

import pytest
from torch import nn

from armsrace import attacks
from tests.attacks.peers import Digits, Exact, check_same

torchattacks = pytest.importorskip("torchattacks")
pytestmark = pytest.mark.peers


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_fgsm_is_torchattacks(s3_cnn: nn.Module, some: Digits, epsilon: float) -> None:
    ours = attacks.fgsm(s3_cnn, *some, epsilon=epsilon).images
    check_same(ours, torchattacks.FGSM(s3_cnn, eps=epsilon)(*some), some[0])


@pytest.mark.parametrize(("epsilon", "steps"), [(0.1, 10), (0.3, 40)])
def test_pgd_is_torchattacks(s3_cnn: nn.Module, some: Digits, epsilon: float, steps: int) -> None:
    peer = torchattacks.PGD(
        s3_cnn, eps=epsilon, alpha=2.5 * epsilon / steps, steps=steps, random_start=False
    )
    ours = attacks.pgd(s3_cnn, *some, epsilon=epsilon, steps=steps, random_start=False).images
    check_same(ours, peer(*some), some[0])


@pytest.mark.parametrize(("epsilon", "steps"), [(0.1, 10), (0.3, 40)])
def test_bim_is_torchattacks(exact: Exact, epsilon: float, steps: int) -> None:
    model, images, labels = exact
    size = 2.5 * epsilon / steps
    ours = attacks.bim(model, images, labels, epsilon=epsilon, steps=steps, step_size=size).images
    peer = torchattacks.BIM(model, eps=epsilon, alpha=size, steps=steps)
    check_same(ours, peer(images, labels), images)


def test_pgd_l2_is_torchattacks(exact: Exact) -> None:
    model, images, labels = exact
    ours = attacks.pgd(
        model, images, labels, epsilon=2.0, steps=20, step_size=0.2, norm="l2", random_start=False
    ).images
    # It adds 1e-10 to each length, which shortens the step of a confidently right image.
    peer = torchattacks.PGDL2(
        model, eps=2.0, alpha=0.2, steps=20, random_start=False, eps_for_division=0
    )
    check_same(ours, peer(images, labels), images)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_momentum_is_torchattacks(exact: Exact, decay: float) -> None:
    model, images, labels = exact
    ours = attacks.mi_fgsm(model, images, labels, epsilon=0.2, steps=10, decay=decay).images
    peer = torchattacks.MIFGSM(model, eps=0.2, alpha=0.02, steps=10, decay=decay)
    check_same(ours, peer(images, labels), images)
