"""ALMA, SuperDeepFool and EAD go no further than the peers' on the shipped network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from armsrace import attacks
from armsrace.norms import distances
from tests.attacks.peers import Digits

foolbox = pytest.importorskip("foolbox")
pytest.importorskip("adv_lib")
from adversarial_library import attacks as adv_lib  # noqa: E402

pytestmark = pytest.mark.peers


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "epsilon"), [("l2", 0.1), ("l1", 0.5)])
def test_alma_goes_no_further_than_adv_lib(
    s3_cnn: nn.Module, some: Digits, norm: Any, epsilon: float
) -> None:
    """The same method and steps: the results differ by chance, as paths part at kinks."""
    images, labels = some[0][:25], some[1][:25]
    found = attacks.alma(s3_cnn, images, labels, norm=norm, steps=150)
    theirs = adv_lib.alma(
        s3_cnn, images, labels, distance=norm, num_steps=150, init_lr_distance=epsilon
    )
    assert found.success.all()
    ours, peer = (distances(x - images, norm).mean() for x in (found.images, theirs))
    assert ours <= 1.03 * peer


def test_superdeepfool_goes_no_further_than_adv_lib(s3_cnn: nn.Module, some: Digits) -> None:
    found = attacks.superdeepfool(s3_cnn, *some)
    theirs = adv_lib.sdf(s3_cnn, *some)
    assert found.success.all()
    ours, peer = (distances(x - some[0], "l2").median() for x in (found.images, theirs))
    assert ours <= 1.01 * peer


@pytest.mark.slow
def test_ead_goes_no_further_than_foolbox(s3_cnn: nn.Module, some: Digits) -> None:
    images, labels = some[0][:15], some[1][:15]
    found = attacks.ead(s3_cnn, images, labels, steps=100)
    attack = foolbox.attacks.EADAttack(steps=100, decision_rule="L1")
    wrapped = foolbox.PyTorchModel(s3_cnn, bounds=(0, 1), device="cpu")
    theirs = attack(wrapped, images, labels, epsilons=None)[1]
    with torch.no_grad():
        assert found.success.all() and (s3_cnn(theirs).argmax(dim=1) != labels).all()
    ours, peer = (distances(x - images, "l1").mean() for x in (found.images, theirs))
    assert ours <= peer
